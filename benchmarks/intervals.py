"""What figures of a few seeds say: spreads, and intervals of differences."""

import math
from collections.abc import Sequence
from statistics import mean, stdev

from scipy.special import stdtrit

__all__ = [
    "Difference",
    "explain",
    "interval",
    "paired",
    "shown",
    "spread",
    "spread_name",
    "unpaired",
]

LEVEL = 0.95

Difference = tuple[float, float, int]
"""A difference, its standard error, and the degrees of freedom of that."""


def spread(values: Sequence[float], *, digits: int = 3) -> str:
    """Mean ± standard error; of two values mean and range, as they have no standard error."""
    if not values:
        return "–"
    middle = f"{mean(values):.{digits}g}"
    if len(values) == 1:
        return middle
    if len(values) == 2:
        return f"{middle} ({min(values):.{digits}g} to {max(values):.{digits}g})"
    return f"{middle} ± {stdev(values) / len(values) ** 0.5:.2g}"


def spread_name(seeds: int) -> str:
    """What `spread` shows for this number of seeds, for the text above a table."""
    if seeds == 1:
        return "one seed"
    return f"{seeds} seeds, mean " + ("and range" if seeds == 2 else "± standard error")


def unpaired(ours: Sequence[float], theirs: Sequence[float]) -> Difference:
    """Mean of ours - mean of theirs; the degrees of freedom are those of the smaller set.

    NaN where one has no value, and the error where one has a single one.
    """
    if not ours or not theirs:
        return math.nan, math.nan, 0
    freedom = min(len(ours), len(theirs)) - 1
    error = math.nan
    if freedom:
        error = math.hypot(*(stdev(runs) / len(runs) ** 0.5 for runs in (ours, theirs)))
    return mean(ours) - mean(theirs), error, freedom


def paired(ours: Sequence[float], theirs: Sequence[float]) -> Difference:
    """The same from the differences of runs that belong together; pairs with NaN are left out."""
    gaps = [a - b for a, b in zip(ours, theirs, strict=False) if math.isfinite(a - b)]
    if not gaps:
        return math.nan, math.nan, 0
    error = stdev(gaps) / len(gaps) ** 0.5 if len(gaps) > 1 else math.nan
    return mean(gaps), error, len(gaps) - 1


def interval(found: Difference, looks: int) -> tuple[float, float]:
    """Ends of a t-interval that holds all of `looks` differences at once at 95 % (Bonferroni)."""
    difference, error, freedom = found
    if not freedom:
        return math.nan, math.nan
    reach = float(stdtrit(freedom, 1 - (1 - LEVEL) / (2 * looks))) * error
    return difference - reach, difference + reach


def shown(found: Difference, looks: int) -> str:
    """The difference with its interval; without one where there is one value only."""
    low, high = interval(found, looks)
    if math.isnan(low):
        return f"{found[0]:+.3g}"
    return f"{found[0]:+.3g} ({low:+.2g} to {high:+.2g})"


def explain(looks: int, over: str = "other seeds") -> str:
    """What the intervals are, for the text above a table.

    Args:
        looks: number of differences.
        over: what varies between the values that they are made from.
    """
    return (
        f"In brackets: t-intervals that hold for all {looks} differences of the table at once with "
        f"a confidence of {LEVEL:.0%} (Bonferroni), over {over}."
    )
