"""Callbacks: pictures of any flow, and guards of its training."""

from .base import FlowCallback
from .components import ComponentExtraction
from .density_plot import DensityPlot
from .guards import NonFiniteGuard
from .last_checkpoint import LastCheckpoint
from .out_of_distribution import OutOfDistribution
from .predictions import PredictionWriter
from .ranking import ContributionRanking
from .reconstructions import ReconstructionGrid
from .samples import SampleGrid

__all__ = [
    "ComponentExtraction",
    "ContributionRanking",
    "DensityPlot",
    "FlowCallback",
    "LastCheckpoint",
    "NonFiniteGuard",
    "OutOfDistribution",
    "PredictionWriter",
    "ReconstructionGrid",
    "SampleGrid",
]
