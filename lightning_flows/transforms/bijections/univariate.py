"""Monotone maps of one variable, whose parameters a coupling or autoregressive layer supplies.

Parameters come as (batch, size, *event), one row for each kind of parameter: rows are contiguous,
which makes softmax and cumsum over them an order of magnitude faster than over a short last
dimension.
"""

from typing import Protocol

import torch
from torch import Tensor

from lightning_flows.core.errors import check_positive
from lightning_flows.core.slopes import pointwise

__all__ = ["Additive", "Affine", "Univariate"]


class Univariate(Protocol):
    """A monotone bijection of the real line with `size` parameters for each entry."""

    size: int

    def encode(self, x: Tensor, h: Tensor) -> tuple[Tensor, Tensor]:
        """Map x.

        Args:
            x: (batch, *event).
            h: parameters, (batch, size, *event); zeros stand for the identity.

        Returns:
            z and log|∂z/∂x|, both (batch, *event).
        """

    def decode(self, z: Tensor, h: Tensor) -> tuple[Tensor, Tensor]:
        """Invert the map; returns x and log|∂z/∂x|, both (batch, *event)."""


@pointwise(lambda h, *, bound: (1 - torch.tanh(h / bound).square(),))
def _bounded(h: Tensor, *, bound: float) -> Tensor:
    return bound * torch.tanh(h / bound)


@pointwise(lambda x, t, s: (s.exp(), torch.ones_like(t), x * s.exp()))
def _scaled_and_moved(x: Tensor, t: Tensor, s: Tensor) -> Tensor:
    return torch.addcmul(t, x, s.exp())


@pointwise(lambda z, t, s: ((-s).exp(), -(-s).exp(), (t - z) * (-s).exp()))
def _moved_and_scaled_back(z: Tensor, t: Tensor, s: Tensor) -> Tensor:
    return (z - t) * (-s).exp()


class Affine:
    """z = x·exp(s) + t with |s| < bound.

    Args:
        bound: largest absolute log-scale.

    Raises:
        ConfigError: `bound` is not positive.
    """

    size = 2

    def __init__(self, bound: float = 3.0) -> None:
        check_positive(bound=bound)
        self.bound = bound

    def encode(self, x: Tensor, h: Tensor) -> tuple[Tensor, Tensor]:
        t, s = h[:, 0], _bounded(h[:, 1], bound=self.bound)
        return _scaled_and_moved(x, t, s), s

    def decode(self, z: Tensor, h: Tensor) -> tuple[Tensor, Tensor]:
        t, s = h[:, 0], _bounded(h[:, 1], bound=self.bound)
        return _moved_and_scaled_back(z, t, s), s


class Additive:
    """z = x + t: keeps the volume (NICE, Dinh et al. 2015)."""

    size = 1

    def encode(self, x: Tensor, h: Tensor) -> tuple[Tensor, Tensor]:
        return x + h[:, 0], torch.zeros_like(x)

    def decode(self, z: Tensor, h: Tensor) -> tuple[Tensor, Tensor]:
        return z - h[:, 0], torch.zeros_like(z)
