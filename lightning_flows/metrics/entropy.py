"""What latents mean for the data: manifold entropic metrics (Galperin and Köthe 2025).

Moving some latents alone, the others held fixed, traces out a manifold in data space. Its entropy
says how much of the data these latents explain, and the total correlation of all how entangled
they are. Latents are standard normal throughout, as those of our flows are.
"""

import math
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from lightning_flows.core.errors import ConfigError
from lightning_flows.jacobians.log_volume import log_diagonal
from lightning_flows.jacobians.products import jacobian, value_and_jacobian
from lightning_flows.metrics.mean import PointMean

__all__ = ["ManifoldEntropy", "TotalCorrelation", "manifold_entropy", "total_correlation"]

Map = Callable[[Tensor], Tensor]


def manifold_entropy(
    decode: Map,
    z: Tensor,
    *,
    latents: Sequence[int] | None = None,
    chunk_size: int | None = None,
) -> Tensor:
    """Entropy of the manifold that some latents S trace out, at single points.

    h_S(z) = -log N(z_S; 0, I) + ½ log det J_SᵀJ_S, with J_S the columns of the decoder's Jacobian
    that belong to S. Its mean over points is the entropy H_S, for all latents of a bijection that
    of the data (arXiv 2410.19426, section 3). Latents with large entropies are those that matter.

    Args:
        decode: latents to data, (batch, *latent) to (batch, *event), row by row.
        z: latents of data, or draws from the prior, (batch, *latent).
        latents: which of the flattened latents; None takes all.
        chunk_size: latents to differentiate by at a time; None takes all at once.

    Returns:
        (batch,), nats with respect to volume in units of the data.

    Raises:
        ConfigError: a latent does not exist, or comes twice.
    """
    size = z.shape[1:].numel()
    chosen = _checked(range(size) if latents is None else latents, size)
    columns = torch.tensor(chosen, device=z.device)
    matrix = value_and_jacobian(decode, z, chunk_size=chunk_size, columns=columns)[1]
    energy = 0.5 * z.flatten(1)[:, columns].square().sum(1)
    return energy + 0.5 * len(chosen) * math.log(2 * math.pi) + _log_volume(matrix)


def total_correlation(
    decode: Map,
    z: Tensor,
    *,
    groups: Sequence[Sequence[int]] | None = None,
    chunk_size: int | None = None,
) -> Tensor:
    """How entangled latents are as seen in data space, at single points.

    Σ_S h_S - h = Σ_S ½ log det J_SᵀJ_S - ½ log det JᵀJ for groups S of latents (the prior's shares
    cancel): at least 0, and 0 where the columns of different groups are orthogonal. For single
    latents it is Σ log‖J_k‖ - ½ log det JᵀJ, the penalty of principal component flows.

    Args:
        decode: latents to data, (batch, *latent) to (batch, *event), row by row.
        z: latents of data, or draws from the prior, (batch, *latent).
        groups: a partition of the flattened latents; None takes each alone.
        chunk_size: latents to differentiate by at a time; None takes all at once.

    Returns:
        (batch,), nats.

    Raises:
        ConfigError: the groups are no partition.
    """
    size = z.shape[1:].numel()
    if groups is not None and sorted(index for group in groups for index in group) != [
        *range(size)
    ]:
        raise ConfigError(f"groups must hold each of the latents 0 to {size - 1} once.")
    matrix = jacobian(decode, z, chunk_size=chunk_size)
    if groups is None:
        parts = matrix.square().sum(1).log().sum(1) / 2
    else:
        parts = sum((_log_volume(matrix[:, :, [*group]]) for group in groups), matrix.new_zeros(()))
    return parts - _log_volume(matrix)


class ManifoldEntropy(PointMean):
    """Mean of `manifold_entropy` over all points.

    Args:
        latents: which of the flattened latents; None takes all.
        chunk_size: latents to differentiate by at a time; None takes all at once.
        kwargs: options of `torchmetrics.Metric`.
    """

    def __init__(
        self,
        *,
        latents: Sequence[int] | None = None,
        chunk_size: int | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.latents = latents
        self.chunk_size = chunk_size

    @torch.no_grad()
    def update(self, decode: Map, z: Tensor) -> None:
        """Take latents, (batch, *latent), and the decoder to look at there."""
        self.take(manifold_entropy(decode, z, latents=self.latents, chunk_size=self.chunk_size))


class TotalCorrelation(PointMean):
    """Mean of `total_correlation` over all points.

    Args:
        groups: a partition of the flattened latents; None takes each alone.
        chunk_size: latents to differentiate by at a time; None takes all at once.
        kwargs: options of `torchmetrics.Metric`.
    """

    higher_is_better = False

    def __init__(
        self,
        *,
        groups: Sequence[Sequence[int]] | None = None,
        chunk_size: int | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.groups = groups
        self.chunk_size = chunk_size

    @torch.no_grad()
    def update(self, decode: Map, z: Tensor) -> None:
        """Take latents, (batch, *latent), and the decoder to look at there."""
        self.take(total_correlation(decode, z, groups=self.groups, chunk_size=self.chunk_size))


def _log_volume(matrix: Tensor) -> Tensor:
    """½ log det JᵀJ: (batch, D, n) -> (batch,)."""
    return log_diagonal(torch.linalg.qr(matrix, mode="r").R, matrix.shape[1])


def _checked(latents: Sequence[int], size: int) -> list[int]:
    chosen = [*latents]
    if not chosen or len({*chosen}) < len(chosen) or not {*chosen} <= {*range(size)}:
        raise ConfigError(f"latents is {chosen}; accepted are different ones of 0 to {size - 1}.")
    return chosen
