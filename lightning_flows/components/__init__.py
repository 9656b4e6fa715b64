"""Local principal components of a flow: extraction, alignment, agreement, traversal."""

from lightning_flows.components.agreement import Agreement, agreement, neighbor_agreement
from lightning_flows.components.alignment import Aligned, align
from lightning_flows.components.extract import ModelMaps, components
from lightning_flows.components.results import Components
from lightning_flows.components.traversal import Traversal, traverse

__all__ = [
    "Agreement",
    "Aligned",
    "Components",
    "ModelMaps",
    "Traversal",
    "agreement",
    "align",
    "components",
    "neighbor_agreement",
    "traverse",
]
