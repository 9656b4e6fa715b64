"""The LightningModules: how each family of flows is trained."""

from lightning_flows.core.signatures import Options
from lightning_flows.modules.assignment import AssignmentModule
from lightning_flows.modules.base import FlowFactory, FlowModule, ModuleOptions
from lightning_flows.modules.checkpoints import load
from lightning_flows.modules.density import DensityModule
from lightning_flows.modules.energy import EnergyModule, LogDensity
from lightning_flows.modules.flow_matching import FlowMatchingModule
from lightning_flows.modules.free_form import FreeFormModule
from lightning_flows.modules.injective import InjectiveModule
from lightning_flows.modules.off_manifold import OffManifoldModule
from lightning_flows.modules.rectangular import RectangularModule
from lightning_flows.modules.surjective import SurjectiveModule
from lightning_flows.modules.two_step import TwoStepModule
from lightning_flows.modules.variational import VariationalModule

__all__ = [
    "AssignmentModule",
    "DensityModule",
    "EnergyModule",
    "FlowFactory",
    "FlowMatchingModule",
    "FlowModule",
    "FreeFormModule",
    "InjectiveModule",
    "LogDensity",
    "ModuleOptions",
    "OffManifoldModule",
    "Options",
    "RectangularModule",
    "SurjectiveModule",
    "TwoStepModule",
    "VariationalModule",
    "load",
]
