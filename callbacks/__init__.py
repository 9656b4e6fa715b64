"""Callbacks: pictures of any flow, its mass, and guards of its training."""

from .base import FlowCallback, Result, Scene, Task, chunks, joined
from .components import ComponentExtraction
from .density_plot import DensityPlot
from .drawing.writer import Drawing
from .guards import NonFiniteGuard
from .last_checkpoint import LastCheckpoint
from .mass import MassCertificate
from .out_of_distribution import OutOfDistribution
from .predictions import PredictionWriter
from .ranking import ContributionRanking
from .reconstructions import ReconstructionGrid
from .samples import SampleGrid
from .truncation import TruncationPlot

__all__ = [
    "ComponentExtraction",
    "ContributionRanking",
    "DensityPlot",
    "Drawing",
    "FlowCallback",
    "LastCheckpoint",
    "MassCertificate",
    "NonFiniteGuard",
    "OutOfDistribution",
    "PredictionWriter",
    "ReconstructionGrid",
    "Result",
    "SampleGrid",
    "Scene",
    "Task",
    "TruncationPlot",
    "chunks",
    "joined",
]
