"""Exchangeable parts of a loss: volumes, reconstructions and penalties."""

from lightning_flows.objectives.failures import Embedded
from lightning_flows.objectives.free_form import FreeFormVolume
from lightning_flows.objectives.penalties import (
    ContourInformation,
    Isometry,
    OffDiagonal,
    Penalty,
    Tikhonov,
    squared_norm,
    volume_and_penalties,
)
from lightning_flows.objectives.posterior import DiagonalPosterior, ImpliedPosterior, Posterior
from lightning_flows.objectives.reconstruction import NoiseLevel, Reconstruction, TargetError
from lightning_flows.objectives.scales import AnnealedScale, LearnedScale, Scale
from lightning_flows.objectives.stochastic import StochasticVolume
from lightning_flows.objectives.volume import ExactVolume, NoVolume, PrincipalVolume, Volume

__all__ = [
    "AnnealedScale",
    "ContourInformation",
    "DiagonalPosterior",
    "Embedded",
    "ExactVolume",
    "FreeFormVolume",
    "ImpliedPosterior",
    "Isometry",
    "LearnedScale",
    "NoVolume",
    "NoiseLevel",
    "OffDiagonal",
    "Penalty",
    "Posterior",
    "PrincipalVolume",
    "Reconstruction",
    "Scale",
    "StochasticVolume",
    "TargetError",
    "Tikhonov",
    "Volume",
    "squared_norm",
    "volume_and_penalties",
]
