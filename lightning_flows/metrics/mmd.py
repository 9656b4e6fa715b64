"""The maximum mean discrepancy with Gaussian kernels."""

import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from lightning_flows.core.errors import ConfigError, DataError
from lightning_flows.metrics.samples import TwoSampleMetric, as_pair

__all__ = ["MaximumMeanDiscrepancy", "mmd"]

CHUNK = 1024  # rows of a kernel matrix that exist at a time
HEURISTIC = 1000  # points whose distances the median is taken of
SCALES = (0.5, 1.0, 2.0)


def mmd(
    samples: Tensor,
    data: Tensor,
    *,
    bandwidth: float | None = None,
    scales: Sequence[float] = SCALES,
) -> Tensor:
    """Squared maximum mean discrepancy, unbiased (Gretton et al. 2012, eq. 3).

    The kernel is the mean of exp(-‖x - y‖² / (2 b²)) over several bandwidths b. An unbiased
    estimate of 0 is as often negative as positive.

    Args:
        samples: (n, *event).
        data: (m, *event).
        bandwidth: the middle one; the median distance between points of both sets together (of
            up to 1000 of them) by default.
        scales: bandwidths as multiples of it.

    Returns:
        A scalar in double precision, without a unit; NaN where a point is not finite.

    Raises:
        ShapeError: events differ in shape, or a set has fewer than two.
        ConfigError: a bandwidth is not positive.
        DataError: half of all points coincide, so that their median distance is 0.
    """
    _check(bandwidth, scales)
    first, second = as_pair(samples, data, least=2)
    center = torch.cat([first, second]).mean(0)  # distances of centered points lose fewer digits
    first, second = first - center, second - center
    if not center.isfinite().all():
        return center.new_tensor(torch.nan)
    middle = _median_distance(first, second) if bandwidth is None else bandwidth
    widths = [middle * scale for scale in scales]
    n, m = len(first), len(second)
    # a point and itself have kernel 1
    within = (_kernel_sum(first, first, widths) - n) / (n * (n - 1))
    within_other = (_kernel_sum(second, second, widths) - m) / (m * (m - 1))
    return within + within_other - 2 * _kernel_sum(first, second, widths) / (n * m)


class MaximumMeanDiscrepancy(TwoSampleMetric):
    """`mmd` between all samples and all data.

    Args:
        bandwidth: the middle one; the median distance by default.
        scales: bandwidths as multiples of it.
        kwargs: options of `torchmetrics.Metric`.

    Raises:
        ConfigError: a bandwidth is not positive.
    """

    def __init__(
        self,
        *,
        bandwidth: float | None = None,
        scales: Sequence[float] = SCALES,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        _check(bandwidth, scales)
        self.bandwidth = bandwidth
        self.scales = tuple(scales)

    def distance(self, samples: Tensor, data: Tensor) -> Tensor:
        return mmd(samples, data, bandwidth=self.bandwidth, scales=self.scales)


def _check(bandwidth: float | None, scales: Sequence[float]) -> None:
    values = [*scales, *([] if bandwidth is None else [bandwidth])]
    if not scales or not all(0 < value < math.inf for value in values):
        raise ConfigError(
            f"bandwidth is {bandwidth} and scales are {list(scales)}; accepted are positive "
            "numbers, at least one scale."
        )


def _median_distance(first: Tensor, second: Tensor) -> float:
    both = torch.cat([first, second])
    step = -(-len(both) // HEURISTIC)
    median = float(torch.pdist(both[::step]).median())
    if median <= 0:
        raise DataError("Half of the points coincide, so mmd finds no bandwidth; give bandwidth.")
    return median


def _kernel_sum(first: Tensor, second: Tensor, widths: Sequence[float]) -> Tensor:
    """Sum of the kernel over all pairs of rows."""
    total = first.new_zeros(())
    for rows in first.split(CHUNK):
        squares = torch.cdist(rows, second).square()
        for width in widths:
            total = total + (squares / (-2 * width * width)).exp().sum()
    return total / len(widths)
