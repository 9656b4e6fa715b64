"""The LightningModules: how each family of flows is trained."""

from lightning_flows.families.base import FlowFactory, FlowModule
from lightning_flows.families.checkpoints import load
from lightning_flows.families.density import DensityFlow
from lightning_flows.families.free_form import FreeFormInjectiveFlow
from lightning_flows.families.injective import InjectiveModule
from lightning_flows.families.rectangular import RectangularFlow
from lightning_flows.families.surjective import SurjectiveFlow
from lightning_flows.families.two_step import TwoStepFlow

__all__ = [
    "DensityFlow",
    "FlowFactory",
    "FlowModule",
    "FreeFormInjectiveFlow",
    "InjectiveModule",
    "RectangularFlow",
    "SurjectiveFlow",
    "TwoStepFlow",
    "load",
]
