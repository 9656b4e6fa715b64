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
from lightning_flows.objectives.reconstruction import NoiseLevel, Reconstruction, TargetError
from lightning_flows.objectives.stochastic import StochasticVolume
from lightning_flows.objectives.volume import ExactVolume, NoVolume, PrincipalVolume, Volume

__all__ = [
    "ContourInformation",
    "Embedded",
    "ExactVolume",
    "FreeFormVolume",
    "Isometry",
    "NoVolume",
    "NoiseLevel",
    "OffDiagonal",
    "Penalty",
    "PrincipalVolume",
    "Reconstruction",
    "StochasticVolume",
    "TargetError",
    "Tikhonov",
    "Volume",
    "squared_norm",
    "volume_and_penalties",
]
