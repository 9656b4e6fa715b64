"""How much a map stretches some directions more than others."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torchmetrics import Metric

from lightning_flows.jacobians.products import jacobian
from lightning_flows.metrics.samples import joined

__all__ = ["ConditionNumber", "condition_number"]

Map = Callable[[Tensor], Tensor]


def condition_number(fn: Map, points: Tensor, *, chunk_size: int | None = None) -> Tensor:
    """Largest by smallest singular value of the Jacobian of a map.

    Args:
        fn: map of batches, (batch, *in) to (batch, *out), that treats every row on its own.
        points: where to differentiate, (batch, *in).
        chunk_size: directions to differentiate along at a time; None takes all at once.

    Returns:
        (batch,), from 1 up; infinite where the Jacobian is singular, NaN where it is not finite.
    """
    matrices = jacobian(fn, points, chunk_size=chunk_size)
    finite = matrices.isfinite().flatten(1).all(1)
    values = torch.linalg.svdvals(torch.where(finite[:, None, None], matrices, 0))
    return torch.where(finite, _ratio(values[:, 0], values[:, -1]), torch.nan)


class ConditionNumber(Metric):
    """Median of `condition_number` over all points.

    It has no standard error: the spread of a median needs the density around it.

    Args:
        chunk_size: directions to differentiate along at a time; None takes all at once.
        kwargs: options of `torchmetrics.Metric`.
    """

    is_differentiable = False
    higher_is_better = False
    full_state_update = False

    values: list[Tensor]

    def __init__(self, *, chunk_size: int | None = None, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.chunk_size = chunk_size
        self.add_state("values", default=[], dist_reduce_fx="cat")

    @torch.no_grad()
    def update(self, fn: Map, points: Tensor) -> None:
        """Take points, (batch, *in), and the map to look at there."""
        self.values.append(condition_number(fn, points, chunk_size=self.chunk_size))

    def compute(self) -> Tensor:
        """The median so far, a scalar; NaN where any number is, and where there were no points."""
        values = joined(self.values).sort(0).values  # NaN comes last
        if not len(values):
            return values.new_tensor(torch.nan)
        low, high = values[(len(values) - 1) // 2], values[len(values) // 2]
        median = torch.where(low == high, low, (low + high) / 2)  # also where both are infinite
        return torch.where(values[-1].isnan(), torch.nan, median)


def _ratio(largest: Tensor, smallest: Tensor) -> Tensor:
    """Their quotient, infinite where both are 0."""
    return torch.where(smallest > 0, largest / smallest, torch.inf)
