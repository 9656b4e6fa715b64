"""What metrics share that are the mean of a figure over points, and its standard error."""

from typing import Any

import torch
from torch import Tensor
from torchmetrics import Metric

__all__ = ["PointMean", "StandardError"]


class PointMean(Metric):
    """Base of metrics that average a figure over all points.

    A subclass says in `update` what the figure is, and gives it to `take`.

    Args:
        skip_nan: leave out points where the figure is NaN instead of becoming NaN.
        kwargs: options of `torchmetrics.Metric`.
    """

    is_differentiable = False
    full_state_update = False

    moments: Tensor

    def __init__(self, *, skip_nan: bool = False, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.skip_nan = skip_nan
        # number, mean, and sum of squares about the mean: sums of squares would lose all digits
        self.add_state("moments", torch.zeros(3, dtype=torch.float32), dist_reduce_fx=_joined)

    def take(self, values: Tensor) -> None:
        """Count the figures of some points, (batch,)."""
        # half precision could not even count the points
        values = values.detach().to(torch.promote_types(values.dtype, self.moments.dtype))
        if self.skip_nan:
            values = values[~values.isnan()]
        if len(values):
            mean = values.mean()
            squares = (values - mean).square().sum()
            part = torch.stack([mean.new_tensor(len(values)), mean, squares])
            self.moments = _joined(torch.stack([self.moments.to(part), part]))

    def compute(self) -> Tensor:
        """The mean so far, a scalar; NaN where there were no points."""
        number, mean, _ = self.moments
        return torch.where(number > 0, mean, torch.nan)

    def standard_error(self) -> Tensor:
        """The standard error of the mean, a scalar; NaN where there were fewer than two points.

        It covers the choice of points, which are taken as independent, and noise that is drawn
        for each point anew. Under several processes all have to ask for it.
        """
        with self.sync_context(dist_sync_fn=self.dist_sync_fn):
            return _standard_error(self.moments)


class StandardError(PointMean):
    """Standard error of the mean of figures, as `PointMean.standard_error` gives it.

    Args:
        kwargs: options of `torchmetrics.Metric`.
    """

    def update(self, values: Tensor) -> None:
        """Take the figures of some points, (batch,)."""
        self.take(values)

    def compute(self) -> Tensor:
        """The standard error so far, a scalar; NaN where there were fewer than two points."""
        return _standard_error(self.moments)


def _joined(parts: Tensor) -> Tensor:
    """Moments of several sets together, (k, 3) to (3,)."""
    numbers, means, squares = parts.unbind(1)
    number = numbers.sum()
    mean = (numbers * means).sum() / number.clamp(min=1)
    between = (numbers * (means - mean).square()).sum()
    return torch.stack([number, mean, squares.sum() + between])


def _standard_error(moments: Tensor) -> Tensor:
    number, _, squares = moments
    return torch.sqrt(squares / (number - 1) / number)
