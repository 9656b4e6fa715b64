"""Figures of what is lost with every latent that is not kept."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from lightning_flows.plots import canvas

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from lightning_flows.plots.canvas import ArrayLike

__all__ = ["truncation"]


def truncation(error: ArrayLike, nll: ArrayLike, *, dimension: int | None = None) -> Figure:
    """Squared error and negative log-likelihood against the number of latents kept.

    Args:
        error: mean squared error with 0 to d latents, (d + 1,), on a logarithmic axis.
        nll: mean negative log-likelihood in data space, (d + 1,), nats.
        dimension: a number of latents to mark, or None.
    """
    figure = canvas.figure(7.2, 2.9)
    panels = figure.subplots(1, 2)
    for axes, values, label in zip(
        panels, (error, nll), ("squared error", "negative log-likelihood (nats)"), strict=True
    ):
        shown = canvas.array(values)
        log = axes is panels[0]
        shown = np.where(np.isfinite(shown) & ((shown > 0) | (not log)), shown, np.nan)
        axes.plot(np.arange(len(shown)), shown, color=canvas.MODEL, marker="o", markersize=3)
        if dimension is not None:
            axes.axvline(dimension, color=canvas.ACCENT, linestyle="--", linewidth=1)
        if log:
            axes.set_yscale("log")
        axes.set_xlabel("latents kept", fontsize=canvas.MEDIUM)
        axes.set_ylabel(label, fontsize=canvas.MEDIUM)
        canvas.set_ticks(axes.xaxis, integer=True)
        canvas.plain(axes)
    return figure
