"""What metrics between two sets of points share."""

from typing import Any

import torch
from torch import Tensor
from torchmetrics import Metric
from torchmetrics.utilities import dim_zero_cat

from lightning_flows.core.errors import ShapeError, check_least

__all__ = ["TwoSampleMetric", "as_features", "as_pair", "joined"]


def as_features(x: Tensor) -> Tensor:
    """Events as rows of features: (n, *event) to (n, features) in double precision."""
    if x.device.type == "mps":  # which has no double precision
        x = x.cpu()
    return x.detach().flatten(1).double()


def as_pair(samples: Tensor, data: Tensor, *, least: int = 1) -> tuple[Tensor, Tensor]:
    """Two sets as features of equal number.

    Raises:
        ShapeError: events differ in shape, or a set has too few of them.
    """
    if samples.ndim < 2 or samples.shape[1:] != data.shape[1:]:
        raise ShapeError(
            f"samples have shape {tuple(samples.shape)} and data {tuple(data.shape)}; expected "
            "are (n, *event) and (m, *event)."
        )
    if min(len(samples), len(data)) < least:
        raise ShapeError(
            f"Came {len(samples)} samples and {len(data)} points of data; at least {least} of "
            "each are needed."
        )
    return as_features(samples), as_features(data)


class TwoSampleMetric(Metric):
    """Base of metrics that need all points of both sets at once.

    Subclasses say what `distance` is. `standard_error` says how far it may be from the distance
    of other samples and data of the same sizes.

    Args:
        kwargs: options of `torchmetrics.Metric`.
    """

    is_differentiable = False
    higher_is_better = False
    full_state_update = False

    samples: list[Tensor]
    data: list[Tensor]

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.add_state("samples", default=[], dist_reduce_fx="cat")
        self.add_state("data", default=[], dist_reduce_fx="cat")

    def update(self, x: Tensor, *, real: bool) -> None:
        """Take points, (batch, *event): data where `real`, samples of a model otherwise."""
        (self.data if real else self.samples).append(x.detach().flatten(1))

    def compute(self) -> Tensor:
        """The distance between all points so far, a scalar."""
        return self.distance(joined(self.samples), joined(self.data))

    def standard_error(self, groups: int = 10) -> Tensor:
        """Standard error of the distance so far, a scalar, by a jackknife over groups of points.

        The distance is taken again without one group of samples and of data at a time, so it
        takes as many times as long. Of distances that are 0 but for chance it gives the order of
        magnitude only. Under several processes all have to ask for it, and their number has a part
        in what the groups are.

        Args:
            groups: number of groups, from 2 up.

        Raises:
            ConfigError: fewer than two groups.
            ShapeError: fewer points than groups.
        """
        check_least(2, groups=groups)
        with self.sync_context(dist_sync_fn=self.dist_sync_fn):
            samples, data = joined(self.samples), joined(self.data)
            if min(len(samples), len(data)) < groups:
                raise ShapeError(
                    f"Came {len(samples)} samples and {len(data)} points of data; for a standard "
                    f"error from {groups} groups at least {groups} of each are needed."
                )
            without = torch.stack(
                [
                    self.distance(*(_without(points, group, groups) for points in (samples, data)))
                    for group in range(groups)
                ]
            )
        return (without.var(correction=0) * (groups - 1)).sqrt()

    def distance(self, samples: Tensor, data: Tensor) -> Tensor:
        """Distance between (n, features) and (m, features)."""
        raise NotImplementedError


def _without(points: Tensor, group: int, groups: int) -> Tensor:
    """Points but for every groups-th, counted from `group` on."""
    return points[torch.arange(len(points), device=points.device) % groups != group]


def joined(parts: Any) -> Tensor:
    """One tensor from the batches; none at all is an empty one."""
    return dim_zero_cat(parts) if len(parts) else torch.empty(0, 0)
