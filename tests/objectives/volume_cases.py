"""Volumes with what they descend on. A new one is one line in `CASES`."""

import torch
from torch import Tensor

from lightning_flows.objectives import (
    ExactVolume,
    FreeFormVolume,
    NoVolume,
    PrincipalVolume,
    StochasticVolume,
)
from proofs.embedding import Consistent
from proofs.volume import VolumeCase

DECODER, ENCODER = "cusp of the decoder", "cusp of the encoder"


def log_volume(j: Tensor) -> Tensor:
    return 0.5 * torch.logdet(j.mT @ j)


def log_lengths(j: Tensor) -> Tensor:
    return j.norm(dim=1).log().sum(1)


def nothing(j: Tensor) -> Tensor:
    return 0 * j[:, 0, 0]


BY_DECODER = FreeFormVolume(target="decoder", at="x_hat")
BY_PROBE = FreeFormVolume(target="probe", at="x_hat_detached", probes=2)
CASES: dict[str, VolumeCase] = {
    "exact": VolumeCase(ExactVolume(), log_volume),
    "chunks": VolumeCase(ExactVolume(2), log_volume),
    "principal": VolumeCase(PrincipalVolume(), log_lengths),
    "columns": VolumeCase(PrincipalVolume(2), log_lengths, fails=(DECODER,)),
    "stochastic": VolumeCase(StochasticVolume(2), log_volume),
    "iterative": VolumeCase(StochasticVolume(2, direct=0, tolerance=1e-12), log_volume),
    "encoder": VolumeCase(FreeFormVolume(), log_volume, Consistent, (DECODER, ENCODER)),
    "decoder": VolumeCase(BY_DECODER, log_volume, Consistent, (DECODER,)),
    "probe": VolumeCase(BY_PROBE, log_volume, Consistent, (DECODER,)),
    "none": VolumeCase(NoVolume(), nothing, fails=()),
}
