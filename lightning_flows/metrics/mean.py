"""What metrics share that are the mean of a figure over points."""

from typing import Any

import torch
from torch import Tensor
from torchmetrics import Metric

__all__ = ["PointMean"]


class PointMean(Metric):
    """Base of metrics that average a figure over all points.

    A subclass says in `update` what the figure is, and gives it to `take`.

    Args:
        skip_nan: leave out points where the figure is NaN instead of becoming NaN.
        kwargs: options of `torchmetrics.Metric`.
    """

    is_differentiable = False
    full_state_update = False

    total: Tensor
    count: Tensor

    def __init__(self, *, skip_nan: bool = False, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.skip_nan = skip_nan
        self.add_state("total", torch.tensor(0.0), dist_reduce_fx="sum")
        self.add_state("count", torch.tensor(0), dist_reduce_fx="sum")

    def take(self, values: Tensor) -> None:
        """Count the figures of some points, (batch,)."""
        if self.skip_nan:
            values = values[~values.isnan()]
        self.total = self.total + values.detach().sum()
        self.count = self.count + len(values)

    def compute(self) -> Tensor:
        """The mean so far, a scalar; NaN where there were no points."""
        return self.total / self.count
