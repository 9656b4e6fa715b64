"""A toy distribution of sets: numbers whose order means nothing."""

import math
from itertools import permutations

import torch
from torch import Generator, Tensor

from lightning_flows.core.errors import ConfigError

from .toy_set import ToySet, gaussian

__all__ = ["EXCHANGEABLE"]

_PLACES = torch.tensor([-1.8, -0.6, 0.6, 1.8], dtype=torch.float64)
_ORDERS = torch.tensor([*permutations(range(len(_PLACES)))])


def _sets(n: int, noise: float, generator: Generator) -> Tensor:
    """One number near each of four places, in a random order."""
    order = torch.rand(n, len(_PLACES), generator=generator, dtype=torch.float64).argsort(1)
    return gaussian(_PLACES[order], noise, generator)


def _sets_log_prob(x: Tensor, noise: float) -> Tensor:
    if noise == 0:
        raise ConfigError("sets with noise 0 are single points and have no density.")
    z = (x[:, None] - _PLACES.to(x)[_ORDERS]) / noise  # (n, orders, 4)
    each = -z.square() / 2 - math.log(noise * math.sqrt(2 * math.pi))
    log_prob: Tensor = each.sum(2).logsumexp(1) - math.log(len(_ORDERS))
    return log_prob


EXCHANGEABLE = {"sets": ToySet(_sets, _sets_log_prob, 4, 4, noise=0.25)}
