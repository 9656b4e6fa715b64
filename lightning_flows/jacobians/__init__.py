"""Everything that differentiates a map: products, volumes, components."""

from lightning_flows.jacobians.components import Components, components
from lightning_flows.jacobians.products import jacobian, tangents

__all__ = ["Components", "components", "jacobian", "tangents"]
