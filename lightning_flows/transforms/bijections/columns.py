"""Columns in different sets: each is mapped by its own spline, and shown to networks as it is."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import groupby

import torch
from torch import Tensor

from lightning_flows.core.errors import ShapeError
from lightning_flows.core.shapes import Shape
from lightning_flows.core.support import REAL, Interval, Support, Torus, by_columns, set_of_each
from lightning_flows.transforms.bijections.spline import (
    BoundedSpline,
    CircularSpline,
    RationalQuadratic,
)
from lightning_flows.transforms.bijections.univariate import Univariate

__all__ = ["ByColumn", "Shown", "mapped_by", "part_of", "spline_on"]


def spline_on(support: Support, shape: Shape, bins: int, bound: float) -> Univariate:
    """The spline of each column: circular for angles, onto itself for an interval, else with tails.

    Args:
        support: set that events lie in: all reals, or for vectors a `Torus`, an `Interval` with
            two ends, or `Columns` of `Torus(1)`, such intervals and all reals.
        shape: shape of events.
        bins: number of bins of each spline.
        bound: half-width of the interval that splines on all reals act on.

    Raises:
        ShapeError: a set that no spline maps onto itself, or events that are not of its shape.
        ConfigError: `bins` or `bound` is out of range.
    """
    if support == REAL:
        return RationalQuadratic(bins, bound)
    support.check(shape)
    if len(shape) != 1:
        raise ShapeError(f"event_shape is {shape}; splines on {support} take vectors, (features,).")
    sets = set_of_each(support, shape[0])
    made = {each: _spline(each, bins, bound) for each in {*sets}}
    return ByColumn([made[each] for each in sets], support)


def _spline(support: Support, bins: int, bound: float) -> RationalQuadratic:
    if isinstance(support, Torus):
        return CircularSpline(bins)
    if support == REAL:
        return RationalQuadratic(bins, bound)
    if isinstance(support, Interval) and math.isfinite(support.low + support.high):
        return BoundedSpline(bins, support.low, support.high)
    raise ShapeError(
        f"No spline maps {support} onto itself; accepted are angles, Torus(1), intervals with two "
        "ends, and all reals."
    )


class ByColumn:
    """A map for each column of a vector.

    Args:
        maps: one for each column. Neighbors with the same map are mapped in one go.
        support: set that all of them together map onto itself.
    """

    def __init__(self, maps: Sequence[Univariate], support: Support) -> None:
        self.support = support
        self.maps = list(maps)
        self.size = max(each.size for each in maps)
        runs = [list(run) for _, run in groupby(maps, key=id)]
        self.runs = [run[0] for run in runs]
        self.lengths = [len(run) for run in runs]

    def encode(self, x: Tensor, h: Tensor) -> tuple[Tensor, Tensor]:
        return self._joined([run.encode(*of_run) for run, of_run in self._split(x, h)])

    def decode(self, z: Tensor, h: Tensor) -> tuple[Tensor, Tensor]:
        return self._joined([run.decode(*of_run) for run, of_run in self._split(z, h)])

    def _split(self, x: Tensor, h: Tensor) -> list[tuple[Univariate, tuple[Tensor, Tensor]]]:
        pieces = zip(self.runs, x.split(self.lengths, 1), h.split(self.lengths, 2), strict=True)
        return [(run, (column, of_run[:, : run.size])) for run, column, of_run in pieces]

    @staticmethod
    def _joined(pairs: list[tuple[Tensor, Tensor]]) -> tuple[Tensor, Tensor]:
        values, log_slopes = zip(*pairs, strict=True)
        return torch.cat(values, 1), torch.cat(log_slopes, 1)


def part_of(univariate: Univariate, columns: slice) -> Univariate:
    """The map of some columns, where each has its own; it takes as many parameters as that of all.

    Args:
        univariate: the map of all columns.
        columns: neighbors.
    """
    if not isinstance(univariate, ByColumn):
        return univariate
    sets = set_of_each(univariate.support, len(univariate.maps))
    part = ByColumn(univariate.maps[columns], by_columns(sets[columns]))
    part.size = univariate.size
    return part


def mapped_by(univariate: Univariate) -> Support:
    """The set that a map takes into itself."""
    return univariate.support if isinstance(univariate, ByColumn) else REAL


class Shown:
    """What a network sees of columns: an angle as its cosine and sine, a number as itself.

    Args:
        sets: the set of each column, in order.

    Attributes:
        counts: how many inputs each column makes.
    """

    def __init__(self, sets: Sequence[Support]) -> None:
        self.counts = [2 if isinstance(each, Torus) else 1 for each in sets]
        runs = [list(run) for _, run in groupby(self.counts)]
        self.doubled = [run[0] == 2 for run in runs]
        self.lengths = [len(run) for run in runs]

    def __call__(self, x: Tensor) -> Tensor:
        """Inputs of (batch, columns, ...): those of a column stand together."""
        if not any(self.doubled):
            return x
        pieces = zip(self.doubled, x.split(self.lengths, 1), strict=True)
        return torch.cat([_on_circle(piece) if doubled else piece for doubled, piece in pieces], 1)


def _on_circle(angles: Tensor) -> Tensor:
    """Cosine and sine of each column, one after the other: (batch, 2 columns, ...)."""
    return torch.stack([angles.cos(), angles.sin()], 2).flatten(1, 2)
