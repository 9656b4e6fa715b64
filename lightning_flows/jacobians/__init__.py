"""Derivatives of maps: products with the Jacobian, and the Jacobian itself."""

from lightning_flows.jacobians.forward import torch_derivatives
from lightning_flows.jacobians.log_volume import log_volume
from lightning_flows.jacobians.products import (
    Map,
    cotangents,
    jacobian,
    linearized,
    tangents,
    value_and_jacobian,
)

__all__ = [
    "Map",
    "cotangents",
    "jacobian",
    "linearized",
    "log_volume",
    "tangents",
    "torch_derivatives",
    "value_and_jacobian",
]
