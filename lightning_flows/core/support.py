"""Sets that the entries of an event lie in, and which bijection leads from one to another."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from math import inf, isinf

import torch
from torch import Tensor

__all__ = [
    "POSITIVE",
    "REAL",
    "RECTIFIED",
    "SORTED",
    "UNIT",
    "Support",
    "by_columns",
    "log_prob_inside",
    "remedy",
    "replace_outside",
]


@dataclass(frozen=True)
class Support:
    """A set of values that every entry of an event lies in. Finite ends belong to it.

    Args:
        low: lower end.
        high: upper end.
        discrete: only the integers from `low` up to, not including, `high`.
        sorted: only events whose points ascend; points run along the first dimension, and the
            first feature of a point is what counts.
        atom: `low` itself has a probability of its own, as zero has behind a ReLU.
        columns: a set for each entry of the first dimension, in place of one for all: columns of
            a table, or channels. See `by_columns`.
        slack: how far beyond its ends a point may lie and still be scored: a `Logit` whose ends
            are drawn in decodes to a little more than what data holds. It makes no other set.
    """

    low: float = -inf
    high: float = inf
    discrete: bool = False
    sorted: bool = False
    atom: bool = False
    columns: tuple[Support, ...] = ()
    slack: float = field(default=0.0, compare=False)

    def contains(self, x: Tensor) -> Tensor:
        """Which rows of (batch, *event) lie inside: (batch,), boolean.

        Infinite entries lie outside of every set, NaNs too.
        """
        if not x.is_floating_point():  # an end such as 256 would be 0 among bytes
            x = x.double()
        if self.columns:
            columns = zip(self.columns, x.split(1, 1), strict=True)
            return torch.stack([support.contains(column) for support, column in columns]).all(0)
        inside = (x >= self.low - self.slack) & (x <= self.high + self.slack) & x.isfinite()
        if self.discrete:
            inside = (x >= self.low) & (x < self.high) & (x == x.floor())
        rows = inside.flatten(1).all(1)
        if self.sorted:
            keys = x if x.ndim == 2 else x.flatten(2)[..., 0]
            rows = rows & (keys.diff(dim=1) >= 0).all(1)
        return rows

    def point(self, like: Tensor) -> Tensor:
        """Some point inside, for each row of (batch, *event): the same shape and dtype."""
        if self.columns:
            columns = zip(self.columns, like.split(1, 1), strict=True)
            return torch.cat([support.point(column) for support, column in columns], 1)
        if self.sorted:
            steps = torch.arange(like.shape[1], dtype=like.dtype, device=like.device)
            return steps.reshape(-1, *[1] * (like.ndim - 2)).expand(like.shape)
        if self.discrete:
            return torch.full_like(like, self.low)
        # the middle of the set, or of what it has within 1 of its end that is nearest to zero
        low, high = max(self.low, min(self.high, 0.0) - 1), min(self.high, max(self.low, 0.0) + 1)
        return torch.full_like(like, (low + high) / 2)

    def __str__(self) -> str:
        if self.columns:
            return f"columns in {', '.join(map(str, self.columns))}"
        left = "(" if isinf(self.low) else "["
        words = "integers in " if self.discrete else "ascending values in " if self.sorted else ""
        tail = f" with an atom at {self.low:g}" if self.atom else ""
        right = ")" if self.discrete or isinf(self.high) else "]"
        return f"{words}{left}{self.low:g}, {self.high:g}{right}{tail}"


REAL = Support()
UNIT = Support(0.0, 1.0)
POSITIVE = Support(0.0)
SORTED = Support(sorted=True)
RECTIFIED = Support(0.0, atom=True)


def by_columns(columns: Sequence[Support]) -> Support:
    """The support of events whose entries lie in these sets; one for all where they are alike."""
    return columns[0] if len({*columns}) == 1 else Support(columns=tuple(columns))


def log_prob_inside(support: Support, x: Tensor, log_prob: Callable[[Tensor], Tensor]) -> Tensor:
    """Log-density of points that may lie outside of the support: -inf there.

    What lies outside is replaced by a point inside before it is scored, so that it disturbs
    neither values nor gradients of the other rows. A NaN stays NaN. For all reals nothing is
    checked or replaced: there NaN stays NaN as well, and an infinite entry gives -inf or NaN.

    Args:
        support: set that points must lie in.
        x: points, (batch, *event).
        log_prob: gives log-densities (batch,), in nats, of points inside.
    """
    if support == REAL:
        return log_prob(x)
    safe, inside, outside = replace_outside(support, x)
    scores = log_prob(safe)
    return torch.where(inside, scores, outside.to(scores.dtype))


def replace_outside(support: Support, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Points with a point inside in place of those that are not.

    Returns:
        Points (batch, *event), which rows were inside (batch,), and the log-density of the others,
        (batch,): NaN for a row that holds a NaN, else -inf.
    """
    inside = support.contains(x)
    safe = torch.where(inside.reshape(-1, *[1] * (x.ndim - 1)), x, support.point(x))
    return safe, inside, torch.where(x.isnan().flatten(1).any(1), torch.nan, -torch.inf)


def remedy(have: Support, want: Support | None) -> str:
    """What to put between a transform onto one set and a part defined on another."""
    if have.columns:
        return "put OnEntries with Argmax or Dequantize between them"
    if have.sorted:
        return "put SortedToReal after the sorting"
    if have.atom:
        return "score it with a base that has such an atom, ZeroInflated"
    if have.discrete:
        return "put Dequantize between them, or score it with Categorical"
    if want is not None and (want.discrete or want.columns):
        return "put Inverse(Dequantize(...)) between them"
    onto_real = _bijection(have, "Logit(...)", "Inverse(Softplus(...))", "Inverse(Tanh(...))")
    from_real = (
        "" if want is None else _bijection(want, "Sigmoid(...)", "Softplus(...)", "Tanh(...)")
    )
    names = " and ".join(name for name in (onto_real, from_real) if name)
    return f"put a bijection between them: {names or 'Logit, Sigmoid, Softplus'}"


def _bijection(support: Support, unit: str, positive: str, ball: str) -> str:
    """The one of three bijections that has this set at one end and all reals at the other."""
    ends = {(0.0, 1.0): unit, (0.0, inf): positive, (-1.0, 1.0): ball}
    return ends.get((support.low, support.high), "")
