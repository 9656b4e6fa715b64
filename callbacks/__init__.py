"""Callbacks: pictures of any flow, its mass, what it lacks, and guards of its training."""

from .affine_gain import AffineGainMonitor
from .base import FlowCallback, Result, Scene, Task, chunks, joined
from .components import ComponentExtraction
from .density_plot import DensityPlot
from .drawing.writer import Drawing
from .greedy_blocks import GreedyBlocks
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
    "AffineGainMonitor",
    "ComponentExtraction",
    "ContributionRanking",
    "DensityPlot",
    "Drawing",
    "FlowCallback",
    "GreedyBlocks",
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
