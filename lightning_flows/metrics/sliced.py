"""The sliced Wasserstein distance."""

import math
from typing import Any

import torch
from torch import Tensor

from lightning_flows.core.errors import ConfigError
from lightning_flows.metrics.samples import TwoSampleMetric, as_pair, joined

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
    return _costs(samples, data, directions, p, seed).mean().pow(1 / p)


class SlicedWasserstein(TwoSampleMetric):
    """`sliced_wasserstein` between all samples and all data.

    `standard_error` covers the choice of points and that of directions; with the same seed the
    latter is the same for all models, and cancels for the most part from their differences.

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

    def standard_error(self, groups: int = 10) -> Tensor:
        points = super().standard_error(groups)
        with self.sync_context(dist_sync_fn=self.dist_sync_fn):
            pair = joined(self.samples), joined(self.data)
            costs = _costs(*pair, self.directions, self.p, self.seed)
        slope = costs.mean().pow(1 / self.p - 1) / self.p
        return torch.hypot(points, slope * costs.std() / self.directions**0.5)


def _check(directions: int, p: float) -> None:
    if directions < 1 or not 1 <= p < math.inf:
        raise ConfigError(
            f"directions is {directions} and p is {p}; accepted are positive integers, and "
            "numbers from 1 up."
        )


def _costs(samples: Tensor, data: Tensor, directions: int, p: float, seed: int) -> Tensor:
    """W_p^p along every direction, (directions,)."""
    first, second = as_pair(samples, data)
    generator = torch.Generator().manual_seed(seed)
    vectors = torch.randn(directions, first.shape[1], generator=generator, dtype=first.dtype)
    vectors = torch.nn.functional.normalize(vectors, dim=1).to(first.device)
    return torch.cat(
        [_transport(first @ part.mT, second @ part.mT, p) for part in vectors.split(CHUNK)]
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
