"""Everything that differentiates a map: products, volumes, components."""

from lightning_flows.jacobians.components import Components, components
from lightning_flows.jacobians.products import jacobian, tangents, value_and_jacobian
from lightning_flows.jacobians.volume import ExactVolume, StochasticVolume, Volume, log_volume

__all__ = [
    "Components",
    "ExactVolume",
    "StochasticVolume",
    "Volume",
    "components",
    "jacobian",
    "log_volume",
    "tangents",
    "value_and_jacobian",
]
