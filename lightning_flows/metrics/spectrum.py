"""How many directions a local spectrum has: scales as `components.components` finds them.

Scales, the Tikhonov weight and noise are of one space, that of the data as the flow was trained on
them: preprocessed, where they are.
"""

from typing import Any

import torch
from torch import Tensor

from lightning_flows.components.dimension import count_dimension, shrinkage
from lightning_flows.metrics.mean import PointMean

__all__ = [
    "IntrinsicDimension",
    "ParticipationRatio",
    "intrinsic_dimension",
    "participation_ratio",
]


def participation_ratio(scales: Tensor, *, tikhonov: float = 0.0, noise: float = 0.0) -> Tensor:
    """Effective number of directions, (Σ λ)² / Σ λ² over variances λ = s² - 2α.

    d for d equal variances, 1 for a single one; it needs no threshold. Variances that the
    shrinkage makes negative count as 0.

    Args:
        scales: all standard deviations of a point, (batch, d), in any order.
        tikhonov: weight α of the Tikhonov term that the flow was trained with.
        noise: the same said by the standard deviation of noise on its data, 2α = σ².

    Returns:
        (batch,), from 1 to d; NaN where no variance is positive.
    """
    variances = (scales.double().square() - shrinkage(tikhonov, noise)).clamp_min(0)
    shares = variances / variances.amax(1, keepdim=True)  # whose squares are no smaller than 1
    return (shares.sum(1).square() / shares.square().sum(1)).to(scales.dtype)


def intrinsic_dimension(
    scales: Tensor,
    *,
    tikhonov: float = 0.0,
    noise: float = 0.0,
    threshold: float = 5.0,
    relative: float = 1e-3,
) -> Tensor:
    """Number of directions that belong to the data and not to the floor that training gave.

    With a Tikhonov term or noise, a direction counts if λ = s² - 2α exceeds `threshold` · 2α; the
    flow widens by about, not exactly, 2α. Without, if λ exceeds `relative` times the largest
    (Horvat and Pfister 2022 compare flows trained with several noises instead).

    Args:
        scales: all standard deviations of a point, (batch, d), in any order.
        tikhonov: weight α of the Tikhonov term that the flow was trained with.
        noise: the same said by the standard deviation of noise on its data, 2α = σ².
        threshold: multiple of 2α, with `tikhonov` or `noise`.
        relative: fraction of the largest variance, without.

    Returns:
        (batch,), floating point; NaN where a scale is.
    """
    floor = shrinkage(tikhonov, noise)
    counted = count_dimension(scales.double().square() - floor, floor, threshold, relative)
    return torch.where(scales.isnan().any(1), torch.nan, counted.to(scales.dtype))


class ParticipationRatio(PointMean):
    """Mean of `participation_ratio` over all points where it is a number.

    Args:
        tikhonov: weight α of the Tikhonov term that the flow was trained with.
        noise: the same said by the standard deviation of noise on its data, 2α = σ².
        kwargs: options of `torchmetrics.Metric`.
    """

    def __init__(self, *, tikhonov: float = 0.0, noise: float = 0.0, **kwargs: Any) -> None:
        super().__init__(skip_nan=True, **kwargs)
        self.tikhonov = tikhonov
        self.noise = noise

    def update(self, scales: Tensor) -> None:
        """Take all standard deviations of some points, (batch, d)."""
        self.take(participation_ratio(scales, tikhonov=self.tikhonov, noise=self.noise))


class IntrinsicDimension(PointMean):
    """Mean of `intrinsic_dimension` over all points where it is a number.

    Args:
        tikhonov: weight α of the Tikhonov term that the flow was trained with.
        noise: the same said by the standard deviation of noise on its data, 2α = σ².
        threshold: multiple of 2α, with `tikhonov` or `noise`.
        relative: fraction of the largest variance, without.
        kwargs: options of `torchmetrics.Metric`.
    """

    def __init__(
        self,
        *,
        tikhonov: float = 0.0,
        noise: float = 0.0,
        threshold: float = 5.0,
        relative: float = 1e-3,
        **kwargs: Any,
    ) -> None:
        super().__init__(skip_nan=True, **kwargs)
        self.options = {
            "tikhonov": tikhonov,
            "noise": noise,
            "threshold": threshold,
            "relative": relative,
        }

    def update(self, scales: Tensor) -> None:
        """Take all standard deviations of some points, (batch, d)."""
        self.take(intrinsic_dimension(scales, **self.options))
