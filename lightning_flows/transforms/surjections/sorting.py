"""Sets of points: sort them, or forget their order."""

import math
from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional as F

from lightning_flows.core.noise import Reproducible, uniform_noise
from lightning_flows.core.support import SORTED
from lightning_flows.transforms.base import Transform
from lightning_flows.transforms.bijections.elementwise import inverse_softplus

__all__ = ["Sort", "SortedToReal", "StochasticPermutation"]


class Sort(Transform):
    """Sorts points by their first feature; points run along the first dimension of an event.

    An inference surjection, exact where what follows lives on sorted points: put `SortedToReal`
    after it. `decode` puts the points in a random order, all orders alike; the contribution is
    -log L! for L points. `Inverse(Sort(...))` is the generative direction: it shuffles data that
    is sorted.

    Args:
        event_shape: (points,) or (points, features, …).
    """

    def __init__(self, event_shape: Sequence[int] | int) -> None:
        super().__init__(event_shape, kind="inference surjection", codomain=SORTED)

    def encode(self, x: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        return _take(x, _key(x).detach().argsort(stable=True, dim=1)), self._contribution(x)

    def decode(self, z: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        return _take(z, _random_order(z)), self._contribution(z)

    def _contribution(self, x: Tensor) -> Tensor:
        return x.new_full((len(x),), -math.lgamma(self.event_shape[0] + 1))


class SortedToReal(Transform):
    """Sorted points to all reals: the first value, then how far each lies above the one before.

    A bijection. Gaps pass through the inverse of softplus, so that small ones become their
    logarithm and large ones stay as they are; points in the same place are very unlikely, not
    impossible. Only the first feature of a point changes.

    Args:
        event_shape: (points,) or (points, features, …).
    """

    def __init__(self, event_shape: Sequence[int] | int) -> None:
        super().__init__(event_shape, domain=SORTED)
        self.volume_preserving = self.event_shape[0] == 1  # a point alone stays as it is

    def encode(self, x: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        key = _key(x)
        gaps = inverse_softplus(key.diff(dim=1))
        return self._with_key(x, torch.cat([key[:, :1], gaps], 1)), self._contribution(gaps)

    def decode(self, z: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        key = _key(z)
        values = torch.cat([key[:, :1], F.softplus(key[:, 1:])], 1).cumsum(1)
        return self._with_key(z, values), self._contribution(key[:, 1:])

    @staticmethod
    def _contribution(gaps: Tensor) -> Tensor:
        return -F.logsigmoid(gaps).sum(1)

    def _with_key(self, x: Tensor, key: Tensor) -> Tensor:
        if x.ndim == 2:
            return key
        flat = x.flatten(2)
        return torch.cat([key[..., None], flat[..., 1:]], 2).reshape(x.shape)


class StochasticPermutation(Transform):
    """Puts points in a random order, in both directions.

    A stochastic map; the contribution is zero, as both directions have probability 1 / L! for L
    points. What follows need not treat all orders alike, and the model does.

    Args:
        event_shape: (points,) or (points, features, …).
    """

    def __init__(self, event_shape: Sequence[int] | int) -> None:
        super().__init__(event_shape, kind="stochastic", domain=None, codomain=None)

    def encode(self, x: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        with Reproducible(x, not self.training):
            return self.decode(x)

    def decode(self, z: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        return _take(z, _random_order(z)), z.new_zeros(len(z))


def _key(x: Tensor) -> Tensor:
    """First feature of every point: (batch, points)."""
    return x if x.ndim == 2 else x.flatten(2)[..., 0]


def _take(x: Tensor, order: Tensor) -> Tensor:
    """Points in another order for each row; order is (batch, points)."""
    index = order.reshape(*order.shape, *[1] * (x.ndim - 2)).expand(x.shape)
    return x.gather(1, index)


def _random_order(x: Tensor) -> Tensor:
    """A permutation for each row, (batch, points), all of them alike."""
    return uniform_noise(x.shape[:2], x).argsort(1)
