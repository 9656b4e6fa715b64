"""Targets: unnormalized log-densities whose mass and samples are known, to train and test on."""

from lightning_flows.targets.base import Target
from lightning_flows.targets.from_torch import TorchDistribution
from lightning_flows.targets.level_sets import LpRegression
from lightning_flows.targets.normals import CorrelatedNormal, NormalPosterior
from lightning_flows.targets.plane import Banana, Ring

__all__ = [
    "Banana",
    "CorrelatedNormal",
    "LpRegression",
    "NormalPosterior",
    "Ring",
    "Target",
    "TorchDistribution",
]
