"""Sets that the entries of an event lie in, and which bijection leads from one to another."""

from collections.abc import Sequence
from dataclasses import dataclass
from math import inf, isinf

__all__ = ["POSITIVE", "REAL", "RECTIFIED", "SORTED", "UNIT", "Support", "by_columns", "remedy"]


@dataclass(frozen=True)
class Support:
    """A set of values that every entry of an event lies in.

    Args:
        low: lower end.
        high: upper end.
        discrete: only the integers from `low` up to, not including, `high`.
        sorted: only events whose points ascend; points run along the first dimension, and the
            first feature of a point is what counts.
        atom: `low` itself has a probability of its own, as zero has behind a ReLU.
        columns: a set for each entry of the first dimension, in place of one for all: columns of
            a table, or channels. See `by_columns`.
    """

    low: float = -inf
    high: float = inf
    discrete: bool = False
    sorted: bool = False
    atom: bool = False
    columns: tuple["Support", ...] = ()

    def __str__(self) -> str:
        if self.columns:
            return f"columns in {', '.join(map(str, self.columns))}"
        left = "(" if isinf(self.low) else "["
        words = "integers in " if self.discrete else "ascending values in " if self.sorted else ""
        tail = f" with an atom at {self.low:g}" if self.atom else ""
        return f"{words}{left}{self.low:g}, {self.high:g}){tail}"


REAL = Support()
UNIT = Support(0.0, 1.0)
POSITIVE = Support(0.0)
SORTED = Support(sorted=True)
RECTIFIED = Support(0.0, atom=True)


def by_columns(columns: Sequence[Support]) -> Support:
    """The support of events whose entries lie in these sets; one for all where they are alike."""
    return columns[0] if len({*columns}) == 1 else Support(columns=tuple(columns))


def remedy(have: Support, want: Support | None) -> str:
    """What to put between a transform onto one set and a part defined on another."""
    if have.columns:
        return "put OnEntries with Argmax or Dequantise between them"
    if have.sorted:
        return "put SortedToReal after the sorting"
    if have.atom:
        return "score it with a base that has such an atom, ZeroInflated"
    if have.discrete:
        return "put Dequantise between them, or score it with Categorical"
    if want is not None and (want.discrete or want.columns):
        return "put Inverse(Dequantise(...)) between them"
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
