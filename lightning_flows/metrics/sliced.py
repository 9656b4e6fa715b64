"""The sliced Wasserstein distance."""

import math
from typing import Any

import torch
from torch import Tensor

from lightning_flows.errors import ConfigError
from lightning_flows.metrics.samples import TwoSampleMetric, as_pair

__all__ = ["SlicedWasserstein", "sliced_wasserstein"]

CHUNK = 32  # directions that are sorted at a time


def sliced_wasserstein(
    samples: Tensor, data: Tensor, *, directions: int = 256, p: float = 2.0, seed: int = 0
) -> Tensor:
    """Sliced Wasserstein distance between two sets of points (Rabin et al. 2011; Bonneel 2015).

    The p-th root of the mean over directions θ on the unit sphere of W_p(θ·samples, θ·data)^p.
    In one dimension W_p is the distance of quantile functions, integrated exactly: the sets may
    differ in size.

    Args:
        samples: (n, *event).
        data: (m, *event).
        directions: number of random directions.
        p: order, at least 1.
        seed: starting point of the directions; the global random state is not touched.

    Returns:
        A scalar in double precision, in the units of the points.

    Raises:
        ShapeError: events differ in shape, or a set is empty.
        ConfigError: an option is out of range.
    """
    _check(directions, p)
    first, second = as_pair(samples, data)
    generator = torch.Generator().manual_seed(seed)
    vectors = torch.randn(directions, first.shape[1], generator=generator, dtype=first.dtype)
    vectors = torch.nn.functional.normalize(vectors, dim=1).to(first.device)
    costs = [_transport(first @ part.mT, second @ part.mT, p) for part in vectors.split(CHUNK)]
    return torch.cat(costs).mean().pow(1 / p)


class SlicedWasserstein(TwoSampleMetric):
    """`sliced_wasserstein` between all samples and all data.

    Args:
        directions: number of random directions.
        p: order, at least 1.
        seed: starting point of the directions.
        kwargs: options of `torchmetrics.Metric`.

    Raises:
        ConfigError: an option is out of range.
    """

    def __init__(
        self, *, directions: int = 256, p: float = 2.0, seed: int = 0, **kwargs: Any
    ) -> None:
        super().__init__(**kwargs)
        _check(directions, p)
        self.directions = directions
        self.p = p
        self.seed = seed

    def distance(self, samples: Tensor, data: Tensor) -> Tensor:
        return sliced_wasserstein(
            samples, data, directions=self.directions, p=self.p, seed=self.seed
        )


def _check(directions: int, p: float) -> None:
    if directions < 1 or not 1 <= p < math.inf:
        raise ConfigError(
            f"directions is {directions} and p is {p}; accepted are positive integers, and "
            "numbers from 1 up."
        )


def _transport(first: Tensor, second: Tensor, p: float) -> Tensor:
    """W_p^p between the columns of (n, k) and (m, k): (k,)."""
    n, m = len(first), len(second)
    # ends of the steps of both quantile functions, in units of 1 / (n m)
    device = first.device
    ends = torch.cat(
        [torch.arange(1, n + 1, device=device) * m, torch.arange(1, m + 1, device=device) * n]
    ).unique()
    widths = ends.diff(prepend=ends.new_zeros(1)).to(first.dtype) / (n * m)
    left, right = (
        values.sort(0).values[(ends - 1) // step] for values, step in ((first, m), (second, n))
    )
    return torch.mv((left - right).abs().pow(p).mT, widths)
