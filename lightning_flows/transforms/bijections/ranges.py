"""Columns with two ends, as of a table, to where flows model them."""

import math
from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from lightning_flows.core.angles import wrapped
from lightning_flows.core.errors import ConfigError
from lightning_flows.core.shapes import as_features
from lightning_flows.core.support import REAL, Interval, Support, Torus, by_columns
from lightning_flows.transforms.base import Transform
from lightning_flows.transforms.bijections.elementwise import Logit

__all__ = ["ColumnRanges"]

Ends = Sequence[float]
ROUNDING = 1e-6  # of numbers in single precision, with room: 3.1415927 is above π


class ColumnRanges(Transform):
    """Some columns of a vector from their ranges to angles, or to all reals; others stay.

    A periodic column, whose two ends are the same point, becomes an angle in [-π, π]. A bounded one
    is moved to [0, 1] and becomes its logit, as `Logit` does with its ends drawn in. Contributions
    refer to the units of the columns: degrees count log(2π / 360) each.

    Args:
        event_shape: the number of columns, or (columns,).
        periodic: lowest and highest value of each periodic column, by its place.
        bounded: lowest and highest value of each bounded column, by its place.
        alpha: how far the ends of bounded columns are drawn in, as a share of their range.

    Raises:
        ConfigError: a place that is not there or stands twice, or ends that are not in order.
    """

    def __init__(
        self,
        event_shape: Sequence[int] | int,
        *,
        periodic: Mapping[int, Ends] | None = None,
        bounded: Mapping[int, Ends] | None = None,
        alpha: float = 1e-6,
    ) -> None:
        features = as_features(event_shape, "ColumnRanges")
        self.periodic = _checked(periodic or {}, features, "periodic")
        self.bounded = _checked(bounded or {}, features, "bounded")
        both = sorted({*self.periodic} & {*self.bounded})
        if both or not (self.periodic or self.bounded):
            raise ConfigError(
                f"periodic is {self.periodic} and bounded is {self.bounded}; accepted are "
                "different columns, at least one."
            )
        logit = Logit(max(len(self.bounded), 1), alpha)
        assert isinstance(logit.domain, Interval)
        domain: list[Support] = [REAL] * features
        codomain: list[Support] = [REAL] * features
        for place, (low, high) in self.periodic.items():
            domain[place] = Interval(low, high, slack=ROUNDING * (high - low))
            codomain[place] = Torus(1)
        for place, (low, high) in self.bounded.items():
            domain[place] = Interval(low, high, slack=logit.domain.slack * (high - low))
        super().__init__(features, domain=by_columns(domain), codomain=by_columns(codomain))
        self.logit = logit
        scales = [2 * math.pi / (high - low) for low, high in self.periodic.values()]
        scales += [1 / (high - low) for low, high in self.bounded.values()]
        self.log_scale = sum(map(math.log, scales))

    def encode(self, x: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        columns = list(x.split(1, 1))
        for place, (low, high) in self.periodic.items():
            middle = (low + high) / 2
            columns[place] = wrapped((columns[place] - middle) * (2 * math.pi / (high - low)))
        contribution = x.new_full((len(x),), self.log_scale)
        if self.bounded:
            shares = [(columns[i] - low) / (high - low) for i, (low, high) in self.bounded.items()]
            logits, slopes = self.logit.encode(torch.cat(shares, 1))
            contribution = contribution + slopes
            for place, column in zip(self.bounded, logits.split(1, 1), strict=True):
                columns[place] = column
        return torch.cat(columns, 1), contribution

    def decode(self, z: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        columns = list(z.split(1, 1))
        for place, (low, high) in self.periodic.items():
            columns[place] = (low + high) / 2 + columns[place] * ((high - low) / (2 * math.pi))
        contribution = z.new_full((len(z),), self.log_scale)
        if self.bounded:
            logits = torch.cat([columns[place] for place in self.bounded], 1)
            shares, slopes = self.logit.decode(logits)
            contribution = contribution + slopes
            ends = zip(self.bounded.items(), shares.split(1, 1), strict=True)
            for (place, (low, high)), share in ends:
                columns[place] = low + (high - low) * share
        return torch.cat(columns, 1), contribution


def _checked(
    ranges: Mapping[int, Ends], features: int, name: str
) -> dict[int, tuple[float, float]]:
    """Ends as pairs, in the order of the columns.

    Raises:
        ConfigError: names the column.
    """
    for place, ends in ranges.items():
        if place not in range(features):
            raise ConfigError(f"{name} names column {place}; there are 0 to {features - 1}.")
        if len(ends) != 2 or not -math.inf < ends[0] < ends[1] < math.inf:
            raise ConfigError(
                f"{name} has {list(ends)} for column {place}; accepted are its lowest and its "
                "highest value, both finite."
            )
    return {place: (float(low), float(high)) for place, (low, high) in sorted(ranges.items())}
