"""Everything that differentiates a map: products, volumes, penalties, components."""

from lightning_flows.jacobians.agreement import Agreement, agreement, neighbour_agreement
from lightning_flows.jacobians.alignment import Aligned, align
from lightning_flows.jacobians.components import Components, ModelMaps, components
from lightning_flows.jacobians.forward import torch_derivatives
from lightning_flows.jacobians.free_form import FreeFormVolume
from lightning_flows.jacobians.penalties import (
    Isometry,
    OffDiagonal,
    Penalty,
    PrincipalFlow,
    Tikhonov,
    squared_norm,
    volume_and_penalties,
)
from lightning_flows.jacobians.products import (
    cotangents,
    jacobian,
    linearised,
    tangents,
    value_and_jacobian,
)
from lightning_flows.jacobians.stochastic import StochasticVolume
from lightning_flows.jacobians.traversal import Traversal, traverse
from lightning_flows.jacobians.volume import (
    Embedded,
    ExactVolume,
    NoVolume,
    PrincipalVolume,
    Volume,
    log_volume,
)

__all__ = [
    "Agreement",
    "Aligned",
    "Components",
    "Embedded",
    "ExactVolume",
    "FreeFormVolume",
    "Isometry",
    "ModelMaps",
    "NoVolume",
    "OffDiagonal",
    "Penalty",
    "PrincipalFlow",
    "PrincipalVolume",
    "StochasticVolume",
    "Tikhonov",
    "Traversal",
    "Volume",
    "agreement",
    "align",
    "components",
    "cotangents",
    "jacobian",
    "linearised",
    "log_volume",
    "neighbour_agreement",
    "squared_norm",
    "tangents",
    "torch_derivatives",
    "traverse",
    "value_and_jacobian",
    "volume_and_penalties",
]
