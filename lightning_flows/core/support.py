"""Sets that events lie in, and the measure that densities on them refer to."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from math import inf, isinf
from typing import ClassVar, Literal

import torch
from torch import Tensor

from lightning_flows.core.errors import ShapeError
from lightning_flows.core.recipe import Recorded
from lightning_flows.core.shapes import Shape

__all__ = [
    "POSITIVE",
    "REAL",
    "RECTIFIED",
    "SORTED",
    "UNIT",
    "Circles",
    "Columns",
    "Interval",
    "Levels",
    "Measure",
    "Simplex",
    "Sorted",
    "Sphere",
    "Support",
    "Torus",
    "by_columns",
    "check_vector",
    "remedy",
    "rounding",
    "set_of_each",
    "wide",
]

Measure = Literal["Lebesgue", "Riemannian volume", "counting", "mixed"]
"""What a density is a density with respect to.

Lebesgue: volume of all of data space. Riemannian volume: that of a manifold of fewer dimensions in
data space. Counting: the density is a probability. Mixed: a product of these, or one of them with
atoms besides.
"""

ROUNDING = 64  # times eps: how far rounding takes a point off a manifold


class Support(Recorded):
    """A set that events lie in. Sets with the same options are equal."""

    measure: ClassVar[Measure] = "Lebesgue"
    """What densities on the set refer to."""

    entrywise: ClassVar[bool] = False
    """Whether all entries lie in one set, so that entries may change places."""

    charts: ClassVar[str] = ""
    """Transforms that lead from a manifold to coordinates of it."""

    def contains(self, x: Tensor) -> Tensor:
        """Which rows of (batch, *event) lie inside: (batch,), boolean.

        Infinite entries lie outside of every set, NaNs too.
        """
        raise NotImplementedError

    def point(self, like: Tensor) -> Tensor:
        """Some point inside, for each row of (batch, *event): the same shape and dtype."""
        raise NotImplementedError

    def given(self, context: Tensor | None) -> Support:
        """The set of events under a context, (batch, *context_shape), row by row.

        It is the same for all contexts but where the set depends on them.
        """
        return self

    def check(self, shape: Shape) -> None:
        """Refuse events of a shape that none of the set has.

        Raises:
            ShapeError: says which shapes there are.
        """


@dataclass(frozen=True)
class Interval(Support):
    """Every entry lies between two numbers. Finite ends belong to the set.

    Args:
        low: lower end.
        high: upper end.
        atom: `low` itself has a probability of its own, as zero has behind a ReLU.
        slack: how far beyond its ends a point may lie and still be scored: a `Logit` whose ends
            are drawn in decodes to a little more than what data holds. It makes no other set.
    """

    low: float = -inf
    high: float = inf
    atom: bool = False
    slack: float = field(default=0.0, compare=False)

    entrywise = True

    @property
    def measure(self) -> Measure:  # type: ignore[override] # an option decides
        return "mixed" if self.atom else "Lebesgue"

    def contains(self, x: Tensor) -> Tensor:
        x = wide(x)
        inside = (x >= self.low - self.slack) & (x <= self.high + self.slack) & x.isfinite()
        return inside.flatten(1).all(1)

    def point(self, like: Tensor) -> Tensor:
        # the middle of the set, or of what it has within 1 of its end that is nearest to zero
        low, high = max(self.low, min(self.high, 0.0) - 1), min(self.high, max(self.low, 0.0) + 1)
        return torch.full_like(like, (low + high) / 2)

    def __str__(self) -> str:
        left, right = ("(" if isinf(self.low) else "["), (")" if isinf(self.high) else "]")
        tail = f" with an atom at {self.low:g}" if self.atom else ""
        return f"{left}{self.low:g}, {self.high:g}{right}{tail}"


@dataclass(frozen=True)
class Levels(Support):
    """Every entry is an integer from `low` up to, not including, `high`."""

    low: float = -inf
    high: float = inf

    measure = "counting"
    entrywise = True

    def contains(self, x: Tensor) -> Tensor:
        x = wide(x)
        inside = (x >= self.low) & (x < self.high) & (x == x.floor()) & x.isfinite()
        return inside.flatten(1).all(1)

    def point(self, like: Tensor) -> Tensor:
        return torch.full_like(like, max(self.low, min(self.high - 1, 0.0)))

    def __str__(self) -> str:
        return f"integers in {'(' if isinf(self.low) else '['}{self.low:g}, {self.high:g})"


@dataclass(frozen=True)
class Sorted(Support):
    """Points ascend; they run along the first dimension, and their first feature is what counts."""

    def contains(self, x: Tensor) -> Tensor:
        keys = x if x.ndim == 2 else x.flatten(2)[..., 0]
        return x.isfinite().flatten(1).all(1) & (keys.diff(dim=1) >= 0).all(1)

    def point(self, like: Tensor) -> Tensor:
        steps = torch.arange(like.shape[1], dtype=like.dtype, device=like.device)
        return steps.reshape(-1, *[1] * (like.ndim - 2)).expand(like.shape)

    def __str__(self) -> str:
        return "ascending values in (-inf, inf)"


@dataclass(frozen=True)
class Sphere(Support):
    """Vectors of length 1 with n + 1 entries: the unit sphere of dimension n.

    Args:
        n: its dimension.
        positive: only the part whose entries are from 0 up.
    """

    n: int
    positive: bool = False

    measure = "Riemannian volume"
    charts = "CylinderChart or SphereChart"

    def contains(self, x: Tensor) -> Tensor:
        x = wide(x)
        lengths: Tensor = torch.linalg.vector_norm(x, dim=1)
        inside = (lengths - 1).abs() <= rounding(x)
        return inside & (x >= 0).all(1) if self.positive else inside

    def point(self, like: Tensor) -> Tensor:
        return torch.eye(self.n + 1, dtype=like.dtype, device=like.device)[:1].expand(like.shape)

    def check(self, shape: Shape) -> None:
        check_vector(self, self.n + 1, shape)

    def __str__(self) -> str:
        part = "the positive part of " if self.positive else ""
        return f"{part}the unit sphere of dimension {self.n}"


@dataclass(frozen=True)
class Simplex(Support):
    """Vectors of n + 1 entries from 0 up whose sum is 1: the probability simplex."""

    n: int

    measure = "Riemannian volume"
    charts = "SimplexChart"

    def contains(self, x: Tensor) -> Tensor:
        x = wide(x)
        sums: Tensor = (x.sum(1) - 1).abs() <= rounding(x)
        return sums & (x >= 0).all(1)

    def point(self, like: Tensor) -> Tensor:
        return torch.full_like(like, 1 / (self.n + 1))

    def check(self, shape: Shape) -> None:
        check_vector(self, self.n + 1, shape)

    def __str__(self) -> str:
        return f"the simplex of dimension {self.n}"


@dataclass(frozen=True)
class Torus(Support):
    """n angles in [-π, π], where -π and π are the same point."""

    n: int

    entrywise = True

    def contains(self, x: Tensor) -> Tensor:
        x = wide(x)
        return (x.abs() <= math.pi * (1 + rounding(x))).all(1)

    def point(self, like: Tensor) -> Tensor:
        return torch.zeros_like(like)

    def check(self, shape: Shape) -> None:
        check_vector(self, self.n, shape)

    def __str__(self) -> str:
        return f"the torus of dimension {self.n}"


@dataclass(frozen=True)
class Circles(Support):
    """n points on the unit circle, with 2 n entries: a torus of dimension n."""

    n: int

    measure = "Riemannian volume"
    charts = "TorusChart"

    def contains(self, x: Tensor) -> Tensor:
        x = wide(x)
        lengths: Tensor = torch.linalg.vector_norm(x.unflatten(1, (self.n, 2)), dim=2)
        return ((lengths - 1).abs() <= rounding(x)).all(1)

    def point(self, like: Tensor) -> Tensor:
        first = torch.arange(2 * self.n, device=like.device) % 2 == 0
        return first.to(like.dtype).expand(like.shape)

    def check(self, shape: Shape) -> None:
        check_vector(self, 2 * self.n, shape)

    def __str__(self) -> str:
        return f"the product of {self.n} unit circles"


@dataclass(frozen=True)
class Columns(Support):
    """A set for each entry of the first dimension: columns of a table, or channels."""

    sets: Sequence[Support]

    def __post_init__(self) -> None:
        object.__setattr__(self, "sets", tuple(self.sets))  # equal to those from a recipe

    @property
    def measure(self) -> Measure:  # type: ignore[override] # the columns decide
        measures = {support.measure for support in self.sets}
        return measures.pop() if len(measures) == 1 else "mixed"

    def contains(self, x: Tensor) -> Tensor:
        columns = zip(self.sets, x.split(1, 1), strict=True)
        return torch.stack([support.contains(column) for support, column in columns]).all(0)

    def point(self, like: Tensor) -> Tensor:
        columns = zip(self.sets, like.split(1, 1), strict=True)
        return torch.cat([support.point(column) for support, column in columns], 1)

    def check(self, shape: Shape) -> None:
        if not shape or shape[0] != len(self.sets):
            raise ShapeError(
                f"event_shape is {shape}; accepted are events with {len(self.sets)} entries in "
                f"the first dimension, for {self}."
            )

    def __str__(self) -> str:
        return f"columns in {', '.join(map(str, self.sets))}"


REAL = Interval()
UNIT = Interval(0.0, 1.0)
POSITIVE = Interval(0.0)
RECTIFIED = Interval(0.0, atom=True)
SORTED = Sorted()


def by_columns(columns: Sequence[Support]) -> Support:
    """The support of events whose entries lie in these sets; one for all where they are alike."""
    if len({*columns}) > 1 or not columns[0].entrywise:
        return Columns(tuple(columns))
    return Torus(len(columns)) if isinstance(columns[0], Torus) else columns[0]


def set_of_each(support: Support, columns: int) -> tuple[Support, ...]:
    """The set of each column of a vector, as `by_columns` takes them."""
    if isinstance(support, Columns):
        return tuple(support.sets)
    return (Torus(1) if isinstance(support, Torus) else support,) * columns


def remedy(have: Support, want: Support | None) -> str:
    """What to put between a transform onto one set and a part defined on another."""
    if have.charts:
        return f"put {have.charts} before it"
    if isinstance(have, Torus) or (isinstance(have, Columns) and Torus(1) in have.sets):
        return "put CircularSplineFlow after it, or score angles with UniformTorus or VonMises"
    if isinstance(have, Columns):
        return "put OnEntries with Argmax or Dequantize between them"
    if isinstance(have, Sorted):
        return "put SortedToReal after the sorting"
    if isinstance(have, Levels):
        return "put Dequantize between them, or score it with Categorical"
    if isinstance(have, Interval) and have.atom:
        return "score it with a base that has such an atom, ZeroInflated"
    if isinstance(want, Levels | Columns):
        return "put Inverse(Dequantize(...)) between them"
    onto_real = _bijection(have, "Logit(...)", "Inverse(Softplus(...))", "Inverse(Tanh(...))")
    from_real = (
        "" if want is None else _bijection(want, "Sigmoid(...)", "Softplus(...)", "Tanh(...)")
    )
    names = " and ".join(name for name in (onto_real, from_real) if name)
    return f"put a bijection between them: {names or 'Logit, Sigmoid, Softplus'}"


def _bijection(support: Support, unit: str, positive: str, ball: str) -> str:
    """The one of three bijections that has this set at one end and all reals at the other."""
    ends = {UNIT: unit, POSITIVE: positive, Interval(-1.0, 1.0): ball}
    return ends.get(support, "") if isinstance(support, Interval) else ""


def wide(x: Tensor) -> Tensor:
    """Integers as floating-point numbers: an end such as 256 would be 0 among bytes."""
    return x if x.is_floating_point() else x.double()


def rounding(x: Tensor) -> float:
    """How far rounding takes a vector of length 1 off a manifold."""
    return ROUNDING * math.sqrt(x.shape[1]) * torch.finfo(x.dtype).eps


def check_vector(support: Support, features: int, shape: Shape) -> None:
    """Refuse events that are no vectors of so many entries.

    Raises:
        ShapeError: says which ones there are.
    """
    if shape != (features,):
        raise ShapeError(f"event_shape is {shape}; events in {support} have shape {(features,)}.")
