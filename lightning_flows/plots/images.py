"""Figures of images, and of components as images."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

from lightning_flows.core.errors import ShapeError
from lightning_flows.plots import canvas

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from lightning_flows.plots.canvas import Array, ArrayLike

__all__ = ["component_images", "component_matrix", "image_grid", "image_pairs", "rgb"]


def image_grid(images: ArrayLike, *, columns: int | None = None) -> Figure:
    """Images side by side, row by row, on white.

    Args:
        images: (n, channels, height, width) or (n, height, width), in [0, 1].
        columns: number of images in a row; a square grid by default.

    Raises:
        ShapeError: there are no images, or they have another shape.
    """
    cells = _enlarged(rgb(images))
    return _bare_image(_tiled(cells, columns or math.ceil(math.sqrt(len(cells)))))


def image_pairs(upper: ArrayLike, lower: ArrayLike, *, columns: int = 8) -> Figure:
    """Images of one set above their partners in another, such as reconstructions.

    Args:
        upper: (n, channels, height, width) or (n, height, width), in [0, 1].
        lower: the partners, of the same shape.
        columns: number of pairs in a row.

    Raises:
        ShapeError: there are no images, or they have another shape.
    """
    first, second = _enlarged(rgb(upper)), _enlarged(rgb(lower))
    gap = np.ones((len(first), 2, *first.shape[2:]))
    return _bare_image(_tiled(np.concatenate([first, gap, second], 1), columns))


def component_images(
    images: ArrayLike,
    axes: ArrayLike,
    scales: ArrayLike,
    *,
    reconstructions: ArrayLike | None = None,
) -> Figure:
    """One row for each point: the point, its reconstruction, its widest components.

    A component of one channel is drawn in a diverging color map with 0 in the middle and the
    largest magnitude at the ends; one of three channels as colors around gray. The number above
    each is its standard deviation.

    Args:
        images: the points as images in [0, 1], (n, channels, height, width).
        axes: (n, k, channels, height, width).
        scales: (n, k).
        reconstructions: images as `images`, or None.

    Raises:
        ShapeError: there are no points, or images have another shape.
    """
    left = [("data", rgb(images))]
    if reconstructions is not None:
        left.append(("decoded", rgb(reconstructions)))
    directions, widths = canvas.array(axes), canvas.array(scales)
    canvas.check_some(widths, "points")
    n, k = widths.shape
    height = 0.95 * directions.shape[-2] / directions.shape[-1]
    figure = canvas.figure(0.95 * (len(left) + k), (height + 0.16) * n, pad=0.02)
    grid = figure.subplots(n, len(left) + k, squeeze=False)
    for row in range(n):
        for cell, (title, pictures) in zip(grid[row], left, strict=False):
            cell.imshow(pictures[row], interpolation="nearest")
            canvas.title(cell, title if row == 0 else "")
        for column, cell in enumerate(grid[row, len(left) :]):
            direction = np.nan_to_num(directions[row, column])
            limit = max(float(np.abs(direction).max()), 1e-12)
            if len(direction) == 1:
                cell.imshow(
                    direction[0],
                    cmap=canvas.DIVERGING,
                    vmin=-limit,
                    vmax=limit,
                    interpolation="nearest",
                )
            else:
                colored = 0.5 + direction.transpose(1, 2, 0) / (2 * limit)
                cell.imshow(colored, interpolation="nearest")
            canvas.title(cell, f"{widths[row, column]:.3g}", size=canvas.SMALL - 1)
    for cell in grid.flat:
        cell.set_axis_off()
    return figure


def component_matrix(axes: ArrayLike, scales: ArrayLike) -> Figure:
    """Components of vectors as a table of colors: a panel for each point, a row for each.

    Args:
        axes: (n, k, dimensions).
        scales: (n, k), standard deviations; they name the rows.

    Raises:
        ShapeError: there are no points.
    """
    directions, widths = canvas.array(axes), canvas.array(scales)
    canvas.check_some(widths, "points")
    n, k, _ = directions.shape
    columns = min(n, 4)
    rows = math.ceil(n / columns)
    figure = canvas.figure(2.6 * columns, (0.22 * k + 0.55) * rows)
    for index in range(n):
        panel = figure.add_subplot(rows, columns, index + 1)
        panel.imshow(
            directions[index],
            cmap=canvas.DIVERGING,
            vmin=-1,
            vmax=1,
            aspect="auto",
            interpolation="none",
        )
        panel.set_yticks(range(k), [f"{width:.3g}" for width in widths[index]])
        canvas.set_ticks(panel.xaxis, integer=True)
        panel.set_xlabel("dimension" if index >= n - columns else "", fontsize=canvas.MEDIUM)
        panel.set_ylabel("component" if index % columns == 0 else "", fontsize=canvas.MEDIUM)
        canvas.plain(panel, frame=False)
    return figure


def rgb(images: ArrayLike) -> Array:
    """(n, height, width, 3) in [0, 1]; pixels that are not finite become mid-gray."""
    values = canvas.array(images)
    if values.ndim == 3:
        values = values[:, None]
    if values.ndim != 4 or values.shape[1] not in (1, 3):
        raise ShapeError(
            f"Images have shape {values.shape}; expected is (n, 1 or 3, height, width)."
        )
    values = np.clip(np.nan_to_num(values, nan=0.5, posinf=1, neginf=0), 0, 1)
    return np.repeat(values, 4 - values.shape[1], 1)[:, :3].transpose(0, 2, 3, 1)


def _enlarged(images: Array, least: int = 64) -> Array:
    """Small images by a whole factor, so that all their pixels stay the same size.

    Raises:
        ShapeError: there are none.
    """
    canvas.check_some(images, "images")
    factor = max(1, round(least / max(images.shape[1:3])))
    return images.repeat(factor, 1).repeat(factor, 2)


def _tiled(cells: Array, columns: int, gap: int = 6) -> Array:
    n, height, width, channels = cells.shape
    columns = min(columns, n)
    rows = math.ceil(n / columns)
    canvas = np.ones((rows * (height + gap) + gap, columns * (width + gap) + gap, channels))
    for index, cell in enumerate(cells):
        top, left = (
            position * side + gap
            for position, side in zip(
                divmod(index, columns), (height + gap, width + gap), strict=True
            )
        )
        canvas[top : top + height, left : left + width] = cell
    return canvas


def _bare_image(values: Array) -> Figure:
    """A figure that is nothing but these pixels, one to one."""
    height, width = (side / canvas.DPI for side in values.shape[:2])
    figure = canvas.figure(width, height)
    figure.set_layout_engine("none")
    axes = figure.add_axes((0, 0, 1, 1))
    axes.set_axis_off()
    axes.imshow(values, interpolation="nearest", aspect="auto")
    return figure
