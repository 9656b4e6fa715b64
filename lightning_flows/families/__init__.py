"""The LightningModules: how each family of flows is trained."""

from lightning_flows.families.base import FlowFactory, FlowModule
from lightning_flows.families.density import DensityFlow
from lightning_flows.families.rectangular import RectangularFlow

__all__ = ["DensityFlow", "FlowFactory", "FlowModule", "RectangularFlow"]
