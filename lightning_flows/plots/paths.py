"""Figures of walks along components."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from lightning_flows.plots import canvas
from lightning_flows.plots.images import rgb

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from lightning_flows.plots.canvas import ArrayLike

__all__ = ["component_curves", "component_strips"]


def component_strips(paths: ArrayLike, scales: ArrayLike, offsets: ArrayLike) -> Figure:
    """One block for each point, one strip of images in it for each component.

    The point itself stands in the middle of a strip, between two lines.

    Args:
        paths: images along the walks in [0, 1], (n, k, 2 steps + 1, channels, height, width).
        scales: standard deviations along the components, (n, k); they name the strips.
        offsets: how far along its walk each image lies, in standard deviations, (2 steps + 1,).

    Raises:
        ShapeError: there are no points, or images have another shape.
    """
    images, widths, places = map(canvas.array, (paths, scales, offsets))
    canvas.check_some(widths, "points")
    n, k, length, _, height, width = images.shape
    side = 0.42
    figure = canvas.figure(
        (side * length + 0.55) * n, (side * height / width + 0.03) * k + 0.35, pad=0.03
    )
    grid = figure.subplots(k, n, squeeze=False)
    for column in range(n):
        for row in range(k):
            panel: Any = grid[row, column]
            strip = rgb(images[column, row])
            panel.imshow(np.concatenate(list(strip), 1), interpolation="nearest", aspect="equal")
            for edge in (length // 2, length // 2 + 1):
                panel.axvline(edge * width - 0.5, color=canvas.ACCENT, linewidth=1.2)
            panel.set_ylabel(
                f"{widths[column, row]:.2g}", fontsize=canvas.SMALL, rotation=0, ha="right",
                va="center",
            )  # fmt: skip
            ticks = (np.arange(length) + 0.5) * width - 0.5 if row == k - 1 else []
            names = [f"{place:+.2g}" if place else "0" for place in places]
            panel.set_xticks(ticks, names[: len(ticks)])
            panel.set_yticks([])
            canvas.plain(panel, frame=False)
            panel.tick_params(labelsize=canvas.SMALL - 2)
    figure.supxlabel("standard deviations along the component", fontsize=canvas.SMALL)
    return figure


def component_curves(
    paths: ArrayLike, *, data: ArrayLike | None = None, names: list[str] | None = None
) -> Figure:
    """Walks in two or three dimensions as curves, upon data.

    Args:
        paths: (n, k, 2 steps + 1, dimensions); the point itself is in the middle, and marked.
        data: points for the background, (m, dimensions), or None.
        names: labels of the axes.
    """
    curves = canvas.array(paths)
    middle = curves[:, 0, curves.shape[2] // 2]
    cloud = middle if data is None else np.concatenate([canvas.array(data), middle])
    limits = canvas.limits(cloud, 0.15)
    figure, [panel] = canvas.point_panels(limits, names=names, room=0.9)
    panel.scatter(*cloud.T, **canvas.dots(len(cloud)), color=canvas.DATA, zorder=1)
    for index in range(curves.shape[1]):
        color = canvas.SERIES[index % 3]
        for curve in curves[:, index]:
            panel.plot(*curve.T, color=color, linewidth=1.4, zorder=2)
        panel.plot([], [], color=color, label=f"component {index + 1}")
    panel.scatter(*middle.T, s=12, color="black", zorder=3)
    canvas.legend(figure)
    return figure
