"""Coordinates of the probability simplex."""

import math
from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional as F

from lightning_flows.core.errors import ShapeError
from lightning_flows.core.shapes import as_features
from lightning_flows.core.support import Simplex
from lightning_flows.transforms.base import Transform

__all__ = ["SimplexChart"]


class SimplexChart(Transform):
    """Additive log-ratios z_i = log(x_i / x_{n+1}): the simplex of dimension n onto all reals.

    Aitchison 1982. The volume is √(n+1) ∏ x_i, of which √(n+1) is the simplex's own: densities
    refer to its Riemannian volume, and that of a Dirichlet distribution as statistics states it,
    with respect to the first n entries, is √(n+1) times as large. An entry that is exactly zero
    counts as the smallest normal number.

    Args:
        event_shape: n + 1, or (n + 1,).

    Raises:
        ShapeError: events are no vectors, or have fewer than two entries.
    """

    def __init__(self, event_shape: Sequence[int] | int) -> None:
        features = as_features(event_shape, "SimplexChart")
        if features < 2:
            raise ShapeError(f"event_shape is {(features,)}; a simplex takes two entries or more.")
        super().__init__(features, features - 1, domain=Simplex(features - 1))

    def encode(self, x: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        logs = x.clamp(min=torch.finfo(x.dtype).tiny).log()
        return logs[:, :-1] - logs[:, -1:], self._contribution(logs)

    def decode(self, z: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        logs = torch.log_softmax(F.pad(z, (0, 1)), 1)
        return logs.exp().clamp(min=torch.finfo(z.dtype).tiny), self._contribution(logs)

    @staticmethod
    def _contribution(logs: Tensor) -> Tensor:
        return -logs.sum(1) - math.log(logs.shape[1]) / 2
