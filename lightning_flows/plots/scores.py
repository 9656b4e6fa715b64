"""Histograms of out-of-distribution scores."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from lightning_flows.plots import canvas

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from lightning_flows.plots.canvas import Array, ArrayLike

__all__ = ["score_histograms"]

MOST_BINS = 60
REACH = 4  # how far the axis may go beyond the data, in widths of the data


def score_histograms(
    inside: Mapping[str, ArrayLike],
    outside: Mapping[str, ArrayLike],
    *,
    titles: Mapping[str, str] | None = None,
    logarithmic: Collection[str] = (),
) -> Figure:
    """A panel for each score: how it is distributed over data, and over foreign points.

    The axis holds nearly all scores of the data, and reaches beyond them for foreign ones up to
    four times their width. What lies further is counted in the outermost bins, and where that is
    one foreign point in a hundred the panel says so. NaN are left out.

    Args:
        inside: scores of data by name, (n,) each; names label the axes.
        outside: scores of foreign points, under the same names.
        titles: titles of the panels, by name of the score.
        logarithmic: names of the scores that are positive and drawn on a logarithmic axis.
    """
    figure = canvas.figure(3.6 * len(inside), 2.9)
    grid = figure.subplots(1, len(inside), squeeze=False)
    for panel, name in zip(grid[0], inside, strict=True):
        sets = [canvas.array(inside[name]), canvas.array(outside[name])]
        log = name in logarithmic
        _histograms(panel, [_logarithms(scores) for scores in sets] if log else sets, log=log)
        panel.set_xlabel(name, fontsize=canvas.MEDIUM)
        panel.set_ylabel("fraction of points", fontsize=canvas.MEDIUM)
        canvas.title(panel, (titles or {}).get(name, ""))
        canvas.plain(panel)
    handles, labels = grid[0, 0].get_legend_handles_labels()
    figure.legend(
        handles, labels, loc="outside upper center", ncols=2, fontsize=canvas.SMALL, frameon=False
    )
    return figure


def _histograms(panel: Any, sets: list[Array], *, log: bool) -> None:
    low, high = _ends(*sets)
    bins = int(np.clip(2 * np.sqrt(min(map(len, sets))), 10, MOST_BINS))
    edges = np.linspace(low, high, bins + 1)
    styles = (("in-distribution", canvas.MODEL), ("out-of-distribution", canvas.ACCENT))
    for scores, (label, color) in zip(sets, styles, strict=True):
        present = np.clip(scores[~np.isnan(scores)], low, high)
        counts = np.histogram(present, edges)[0] / max(len(scores), 1)
        shown = 10**edges if log else edges
        panel.stairs(counts, shown, fill=True, color=color, alpha=0.35)
        panel.stairs(counts, shown, color=color, linewidth=1, label=label)
    for share, place, align in (
        (np.sum(sets[1] < low) / max(len(sets[1]), 1), 0.1, "left"),
        (np.sum(sets[1] > high) / max(len(sets[1]), 1), 0.9, "right"),
    ):
        if share >= 0.01:
            text = f"{share:.0%} further {align}"
            panel.text(
                place, 0.97, text, color=canvas.ACCENT, fontsize=canvas.SMALL, ha=align, va="top",
                transform=panel.transAxes,
            )  # fmt: skip
    if log:
        _logarithmic(panel, high - low)
    else:
        canvas.set_ticks(panel.xaxis, 6)
    panel.set_ylim(bottom=0)


def _logarithmic(panel: Any, decades: float) -> None:
    """A logarithmic axis with few labels, whether it spans one decade or ten."""
    from matplotlib.ticker import LogLocator, NullLocator

    panel.set_xscale("log")
    panel.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5) if decades < 2 else (1,), numticks=6))
    panel.xaxis.set_major_formatter("{x:g}")
    panel.xaxis.set_minor_locator(NullLocator())


def _ends(inside: Array, outside: Array) -> tuple[float, float]:
    """Ends of the axis."""
    own, other = (scores[np.isfinite(scores)] for scores in (inside, outside))
    if not len(own):
        own = other if len(other) else np.zeros(1)
    low, high = np.quantile(own, [0.005, 0.995])
    width = max(high - low, 1e-3 * max(abs(high), 1e-6))
    low, high = low - 0.05 * width, high + 0.05 * width
    if len(other):
        least, most = np.quantile(other, [0.005, 0.995])
        low = max(min(low, least - 0.05 * width), low - REACH * width)
        high = min(max(high, most + 0.05 * width), high + REACH * width)
    return float(low), float(high)


def _logarithms(scores: Array) -> Array:
    """Logarithms to base 10; 0 becomes the smallest score above it."""
    positive = scores[(scores > 0) & np.isfinite(scores)]
    least = positive.min() if len(positive) else 1.0
    return np.log10(np.where(scores > 0, scores, np.where(np.isnan(scores), scores, least)))
