"""What a toy data set is: how it is sampled and, where known, its density."""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Generator, Tensor

__all__ = ["ToySet", "gaussian", "uniform"]


@dataclass(frozen=True)
class ToySet:
    """A distribution on the plane, in space, or on a manifold in them.

    Args:
        sample: (number, noise, generator) -> points (n, dimension) in float64.
        log_prob: (points (n, dimension), noise) -> log-densities (n,) in nats, in the plane or
            with respect to volume on the manifold; None where no closed form is known.
        dimension: number of coordinates.
        manifold_dimension: dimension of the set that points lie on without noise, or of the plane.
        noise: standard deviation of the noise unless another is asked for.
    """

    sample: Callable[[int, float, Generator], Tensor]
    log_prob: Callable[[Tensor, float], Tensor] | None
    dimension: int
    manifold_dimension: int
    noise: float


def uniform(n: int, low: float, high: float, generator: Generator) -> Tensor:
    """Numbers between low and high, (n,)."""
    return low + (high - low) * torch.rand(n, generator=generator, dtype=torch.float64)


def gaussian(points: Tensor, noise: float, generator: Generator) -> Tensor:
    """Points with independent Gaussian noise on every coordinate."""
    if noise == 0:
        return points
    return points + noise * torch.randn(points.shape, generator=generator, dtype=points.dtype)
