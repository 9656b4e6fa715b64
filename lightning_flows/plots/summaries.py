"""Figures that sum up components over many points."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

from lightning_flows.plots import canvas

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from lightning_flows.plots.canvas import ArrayLike

__all__ = ["dimension_histogram", "spectrum"]


def spectrum(scales: ArrayLike, *, tikhonov: float = 0.0, preprocessed: bool = False) -> Figure:
    """Standard deviation along each component: median over the points, and a band of quantiles.

    Args:
        scales: (n, k).
        tikhonov: weight α of the penalty; its floor √(2α) is drawn where it is not 0.
        preprocessed: whether the axis says that scales are those of preprocessed data.
    """
    values = canvas.array(scales)
    values = np.where(np.isfinite(values) & (values > 0), values, np.nan)
    values = values[:, ~np.isnan(values).all(0)]
    figure = canvas.figure(4.4, 3.0)
    axes = figure.add_subplot()
    index = np.arange(1, values.shape[1] + 1)
    quantiles = [0.1, 0.5, 0.9]  # NumPy has none of nothing
    low, middle, high = (
        np.nanquantile(values, quantiles, axis=0) if values.size else np.empty((3, 0))
    )
    axes.fill_between(
        index, low, high, alpha=0.2, linewidth=0, color=canvas.MODEL, label="10 % to 90 %"
    )
    marker = "o" if len(index) <= 32 else None
    axes.plot(index, middle, color=canvas.MODEL, marker=marker, markersize=3, label="median")
    if tikhonov:
        axes.axhline(
            math.sqrt(2 * tikhonov), color=canvas.ACCENT, linestyle="--", linewidth=1, label="√(2α)"
        )
    axes.set_yscale("log")
    axes.set_xlabel("component", fontsize=canvas.MEDIUM)
    of = ", preprocessed data" if preprocessed else ""
    axes.set_ylabel(f"standard deviation{of}", fontsize=canvas.MEDIUM)
    canvas.set_ticks(axes.xaxis, integer=True)
    canvas.plain(axes)
    axes.legend(fontsize=canvas.SMALL, frameon=False)
    return figure


def dimension_histogram(dimension: ArrayLike) -> Figure:
    """How often each intrinsic dimension was found.

    Args:
        dimension: (n,); values that are not finite are left out.
    """
    values = canvas.array(dimension)
    counts, times = np.unique(values[np.isfinite(values)].astype(int), return_counts=True)
    figure = canvas.figure(3.6, 2.6)
    axes = figure.add_subplot()
    axes.bar(counts, times, color=canvas.MODEL, width=0.8)
    axes.set_xlabel("intrinsic dimension", fontsize=canvas.MEDIUM)
    axes.set_ylabel("points", fontsize=canvas.MEDIUM)
    if len(counts):
        axes.set_xlim(counts.min() - 1.5, counts.max() + 1.5)
    for axis in (axes.xaxis, axes.yaxis):
        canvas.set_ticks(axis, integer=True)
    canvas.plain(axes)
    return figure
