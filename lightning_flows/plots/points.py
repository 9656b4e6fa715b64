"""Figures of points in one to three dimensions."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from lightning_flows.plots import canvas

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from lightning_flows.plots.canvas import ArrayLike

__all__ = ["component_arrows", "density", "error_lines", "scatter"]


def scatter(
    samples: ArrayLike, data: ArrayLike | None = None, *, names: Sequence[str] | None = None
) -> Figure:
    """Points of one to three dimensions, beside data on the same axes where there is data.

    The limits are those of the data (of the samples where there is none); the title counts the
    samples that lie outside. Points in one dimension become histograms.

    Args:
        samples: (n, dimensions), one to three dimensions.
        data: (m, dimensions), or None.
        names: labels of the axes.
    """
    drawn = canvas.check_points(canvas.array(samples))
    clouds = [("samples", drawn, canvas.MODEL)]
    if data is not None:
        clouds.insert(0, ("data", canvas.check_points(canvas.array(data)), canvas.DATA))
    limits = canvas.limits(clouds[0][1])
    figure, panels = canvas.point_panels(limits, len(clouds), names=names)
    for panel, (title, points, color) in zip(panels, clouds, strict=True):
        inside = canvas.within(points, limits)
        if len(limits) == 1:
            panel.hist(inside[:, 0], bins=50, range=tuple(limits[0]), color=color)
        else:
            panel.scatter(*inside.T, **canvas.dots(len(points)), color=color)
        outside = len(points) - len(inside)
        canvas.title(panel, f"{title} ({outside} outside)" if outside else title)
    return figure


def error_lines(
    x: ArrayLike, reconstructed: ArrayLike, *, names: Sequence[str] | None = None
) -> Figure:
    """Points in two or three dimensions, each joined with its reconstruction by a line.

    Args:
        x: (n, dimensions).
        reconstructed: (n, dimensions).
        names: labels of the axes.
    """
    start, end = canvas.array(x), canvas.array(reconstructed)
    limits = canvas.limits(start, reaching=end)
    figure, [panel] = canvas.point_panels(limits, names=names, room=0.9)
    for pair in zip(start, end, strict=True):
        panel.plot(*np.stack(pair).T, color=canvas.ACCENT, linewidth=1, zorder=1)
    panel.scatter(*start.T, s=14, color=canvas.DATA, label="data", zorder=2)
    panel.scatter(*end.T, s=8, color=canvas.MODEL, label="reconstruction", zorder=3)
    canvas.legend(figure)
    return figure


def density(
    log_prob: ArrayLike,
    extent: tuple[float, float, float, float],
    *,
    names: Sequence[str] | None = None,
) -> Figure:
    """Heat map of a density in the plane.

    Args:
        log_prob: nats, (rows, columns): rows run upwards along the second axis, columns to the
            right along the first.
        extent: left, right, bottom and top end of the rectangle that the cells fill.
        names: labels of the axes.
    """
    values = np.exp(np.nan_to_num(canvas.array(log_prob), nan=-np.inf, posinf=np.nan))
    left, right, bottom, top = extent
    aspect = float(np.clip((top - bottom) / (right - left), 0.4, 1.6))
    figure = canvas.figure(4.4, 3.4 * aspect + 0.45)
    axes = figure.add_subplot()
    image = axes.imshow(
        values,
        extent=extent,
        origin="lower",
        cmap=canvas.SEQUENTIAL,
        vmin=0,
        interpolation="nearest",
    )
    bar = figure.colorbar(image, ax=axes, aspect=30 * aspect, pad=0.02)
    bar.outline.set_visible(False)
    bar.ax.tick_params(labelsize=canvas.SMALL, length=2)
    bar.set_label("density", fontsize=canvas.MEDIUM)
    canvas.name_axes(axes, names, 2)
    canvas.plain(axes, frame=False)
    return figure


def component_arrows(
    points: ArrayLike,
    axes: ArrayLike,
    scales: ArrayLike,
    *,
    data: ArrayLike | None = None,
    names: Sequence[str] | None = None,
) -> Figure:
    """Components in two or three dimensions as arrows of one standard deviation, upon data.

    Args:
        points: (n, dimensions).
        axes: (n, k, dimensions).
        scales: (n, k).
        data: points for the background, (m, dimensions), or None.
        names: labels of the axes.
    """
    at, arrows = canvas.array(points), canvas.array(axes) * canvas.array(scales)[..., None]
    cloud = at if data is None else np.concatenate([canvas.array(data), at])
    limits = canvas.limits(cloud, reaching=(at[:, None] + arrows).reshape(-1, at.shape[1]))
    figure, [panel] = canvas.point_panels(limits, names=names, room=0.9)
    panel.scatter(*cloud.T, **canvas.dots(len(cloud)), color=canvas.DATA, zorder=1)
    flat: dict[str, Any] = {"angles": "xy", "scale_units": "xy", "scale": 1, "width": 0.008}
    solid: dict[str, Any] = {"linewidth": 1.5, "arrow_length_ratio": 0.2}
    for index in range(arrows.shape[1]):
        panel.quiver(
            *at.T,
            *arrows[:, index].T,
            color=canvas.SERIES[index % 3],
            zorder=3,
            **(flat if at.shape[1] == 2 else solid),
        )
        panel.plot([], [], color=canvas.SERIES[index % 3], label=f"component {index + 1}")
    canvas.legend(figure)
    return figure
