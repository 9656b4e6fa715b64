"""Figures of points and densities on the sphere, the torus and the simplex."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from lightning_flows.core.errors import ShapeError
from lightning_flows.plots import canvas

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from lightning_flows.plots.canvas import Array, ArrayLike

__all__ = ["angles", "globe", "triangle"]

HEIGHT = math.sqrt(3) / 2  # of a triangle whose sides are 1
_CORNERS = np.array([[0.0, 0.0], [1.0, 0.0], [0.5, HEIGHT]])


def globe(
    samples: ArrayLike | None = None,
    data: ArrayLike | None = None,
    *,
    log_prob: ArrayLike | None = None,
) -> Figure:
    """The unit sphere in Mollweide's projection, which keeps areas; north is up.

    Data and samples stand side by side; a density stands alone, under the points of the data.

    Args:
        samples: points, (n, 3), the last entry being the height; or None.
        data: points, (m, 3), or None.
        log_prob: nats on the unit sphere at `globe_grid`, (rows, columns), or None.

    Raises:
        ShapeError: nothing to draw, or points that have not three entries.
    """
    clouds = _clouds(samples, data, 3, log_prob)
    count = 1 if log_prob is not None else len(clouds)
    figure = canvas.figure(4.6 * count + 0.6 * (log_prob is not None), 2.5)
    for index in range(count):
        axes: Any = figure.add_subplot(1, count, index + 1, projection="mollweide")
        title, points, color = clouds[index] if index < len(clouds) else ("", np.empty((0, 3)), "")
        longitude = np.arctan2(points[:, 1], points[:, 0])
        latitude = np.arctan2(points[:, 2], np.hypot(points[:, 0], points[:, 1]))
        if log_prob is not None:
            values = _density(log_prob)
            rows, columns = values.shape
            across = np.linspace(-np.pi, np.pi, columns + 1)
            up = np.linspace(-np.pi / 2, np.pi / 2, rows + 1)
            # white lines between cells would come of smoothed edges
            options: dict[str, Any] = {"rasterized": True, "antialiased": False}
            image = axes.pcolormesh(across, up, values, **options, **_colors(values))
            _bar(figure, axes, image)
            axes.scatter(longitude, latitude, **_over(len(points)))
        else:
            axes.scatter(longitude, latitude, **canvas.dots(len(points)), color=color)
            canvas.title(axes, title)
        axes.set_xticks(np.radians([-120, -60, 0, 60, 120]), [])
        axes.set_yticks(np.radians([-60, -30, 0, 30, 60]), [])
        axes.grid(color="white" if log_prob is not None else "#c8ced4", linewidth=0.4, alpha=0.5)
        axes.spines["geo"].set_linewidth(0.6)
    return figure


def angles(
    samples: ArrayLike | None = None,
    data: ArrayLike | None = None,
    *,
    log_prob: ArrayLike | None = None,
    names: Sequence[str] | None = None,
) -> Figure:
    """Two angles in a square whose opposite sides are the same, as a Ramachandran plot has them.

    Data and samples stand side by side; a density stands alone, under the points of the data.

    Args:
        samples: radians, (n, 2), or None.
        data: radians, (m, 2), or None.
        log_prob: nats, (rows, columns): cells of equal size, rows run upwards from -π along the
            second angle; or None.
        names: labels of the axes.

    Raises:
        ShapeError: nothing to draw, or points that have not two entries.
    """
    clouds = _clouds(samples, data, 2, log_prob)
    count = 1 if log_prob is not None else len(clouds)
    figure = canvas.figure(3.2 * count + 0.7 * (log_prob is not None), 3.3)
    ends = (-np.pi, np.pi)
    for index in range(count):
        axes: Any = figure.add_subplot(1, count, index + 1)
        title, points, color = clouds[index] if index < len(clouds) else ("", np.empty((0, 2)), "")
        if log_prob is not None:
            values = _density(log_prob)
            options = {"extent": (*ends, *ends), "origin": "lower", **_colors(values)}
            image = axes.imshow(values, **options)
            _bar(figure, axes, image)
            axes.scatter(*points.T, **_over(len(points)))
        else:
            axes.scatter(*points.T, **canvas.dots(len(points)), color=color)
            canvas.title(axes, title)
        canvas.name_axes(axes, names, 2)
        canvas.plain(axes, frame=False)
        for axis in (axes.xaxis, axes.yaxis):
            axis.set_ticks(np.linspace(*ends, 5), ["-π", "-π/2", "0", "π/2", "π"])
        axes.set(xlim=ends, ylim=ends, aspect="equal")
        for spine in axes.spines.values():
            spine.set(visible=log_prob is None, linewidth=0.6)
    return figure


def triangle(
    samples: ArrayLike | None = None,
    data: ArrayLike | None = None,
    *,
    log_prob: ArrayLike | None = None,
    names: Sequence[str] | None = None,
) -> Figure:
    """Three shares whose sum is 1, in a triangle: each corner is all of one of them.

    Data and samples stand side by side; a density stands alone, under the points of the data.

    Args:
        samples: (n, 3), or None.
        data: (m, 3), or None.
        log_prob: nats with respect to area on the simplex at `triangle_grid(n)`, (n²,), or None.
        names: names of the shares.

    Raises:
        ShapeError: nothing to draw, or points that have not three entries.
    """
    clouds = _clouds(samples, data, 3, log_prob)
    count = 1 if log_prob is not None else len(clouds)
    figure = canvas.figure(3.4 * count + 0.7 * (log_prob is not None), 3.2)
    names = names or ["x₁", "x₂", "x₃"]
    for index in range(count):
        axes: Any = figure.add_subplot(1, count, index + 1)
        title, points, color = clouds[index] if index < len(clouds) else ("", np.empty((0, 3)), "")
        x, y = (points @ _CORNERS).T
        if log_prob is not None:
            values = _density(log_prob)
            corners = _small_triangles(round(math.sqrt(len(values)))) @ _CORNERS
            faces = np.arange(3 * len(values)).reshape(-1, 3)
            options = {"edgecolors": "face", "linewidth": 0.3, "rasterized": True}
            options |= {"facecolors": values, **_colors(values)}
            image = axes.tripcolor(*corners.reshape(-1, 2).T, faces, **options)
            _bar(figure, axes, image)
            axes.scatter(x, y, **_over(len(points)))
        else:
            axes.scatter(x, y, **canvas.dots(len(points)), color=color, zorder=2)
            canvas.title(axes, title)
        axes.plot(*_CORNERS[[0, 1, 2, 0]].T, color="#5b6670", linewidth=0.7, zorder=1)
        for corner, name, place in zip(_CORNERS, names, ("right", "left", "center"), strict=True):
            up = corner[1] > 0
            axes.annotate(
                name,
                corner,
                (0 if up else math.copysign(4, corner[0] - 0.5), 4 if up else -2),
                textcoords="offset points",
                ha=place,
                va="bottom" if up else "center",
                fontsize=canvas.MEDIUM,
            )
        axes.set(xlim=(-0.1, 1.1), ylim=(-0.04, HEIGHT + 0.1), aspect="equal")
        axes.set_axis_off()
    return figure


def globe_grid(rows: int) -> Array:
    """Centers of cells of equal angles, (rows, 2 rows, 3): rows from south to north."""
    latitude = (np.arange(rows) + 0.5) * np.pi / rows - np.pi / 2
    longitude = (np.arange(2 * rows) + 0.5) * np.pi / rows - np.pi
    up, across = np.meshgrid(latitude, longitude, indexing="ij")
    ring = np.cos(up)
    return np.stack([ring * np.cos(across), ring * np.sin(across), np.sin(up)], -1)


def angle_grid(cells: int) -> Array:
    """Centers of cells of the torus, (rows, columns, 2)."""
    middle = (np.arange(cells) + 0.5) * 2 * np.pi / cells - np.pi
    return np.stack(np.meshgrid(middle, middle, indexing="xy"), -1)


def triangle_grid(rows: int) -> Array:
    """Centers of the equal triangles that a triangle is cut into, as shares: (rows², 3)."""
    centers: Array = _small_triangles(rows).mean(1)
    return centers


def _small_triangles(rows: int) -> Array:
    """Corners of the equal triangles as shares, (rows², 3, 3): first those that point up."""
    i, j = np.divmod(np.arange(rows * rows), rows)
    up, down = i + j < rows, i + j < rows - 1
    steps = np.array([[0, 0], [1, 0], [0, 1]]), np.array([[1, 1], [1, 0], [0, 1]])
    corners = [np.stack([i[kept], j[kept]], 1)[:, None] + step for kept, step in zip(
        (up, down), steps, strict=True
    )]  # fmt: skip
    shares = np.concatenate(corners) / rows
    return np.concatenate([shares, 1 - shares.sum(2, keepdims=True)], 2)


def _clouds(
    samples: ArrayLike | None, data: ArrayLike | None, width: int, log_prob: ArrayLike | None
) -> list[tuple[str, Array, str]]:
    """Title, points and color of each cloud that is given."""
    given = [("data", data, canvas.DATA), ("samples", samples, canvas.MODEL)]
    clouds = [
        (title, canvas.array(points), color) for title, points, color in given if points is not None
    ]
    if not clouds and log_prob is None:
        raise ShapeError("There is nothing to draw; samples, data or log_prob is needed.")
    for title, points, _ in clouds:
        if points.ndim != 2 or points.shape[1] != width:
            raise ShapeError(f"The {title} has shape {points.shape}; expected is (n, {width}).")
    return clouds


def _density(log_prob: ArrayLike) -> Array:
    values: Array = np.exp(np.nan_to_num(canvas.array(log_prob), nan=-np.inf, posinf=np.nan))
    return values


def _colors(values: Array) -> dict[str, Any]:
    """Colors up to the largest value, but for the peaks of a few cells."""
    finite = values[np.isfinite(values)]
    if not finite.size:
        return {"cmap": canvas.SEQUENTIAL, "vmin": 0.0}
    most, usual = float(finite.max()), float(np.quantile(finite, 0.995))
    top = usual if 0 < 3 * usual < most else most or 1.0
    return {"cmap": canvas.SEQUENTIAL, "vmin": 0.0, "vmax": top}


def _over(n: int) -> dict[str, Any]:
    """Options of points upon a density."""
    return {"s": float(np.clip(600 / max(n, 1), 0.6, 4)), "color": "#7fdbff", "linewidths": 0}


def _bar(figure: Figure, axes: Any, image: Any) -> None:
    beyond = "max" if image.get_array().max() > image.get_clim()[1] else "neither"
    bar = figure.colorbar(image, ax=axes, aspect=26, pad=0.03, shrink=0.85, extend=beyond)
    bar.outline.set_visible(False)
    bar.ax.tick_params(labelsize=canvas.SMALL, length=2)
    bar.set_label("density", fontsize=canvas.MEDIUM)
