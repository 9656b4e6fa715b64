"""The canvas: figures that belong to nobody, panels, and the bytes they become."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from torch import Tensor

from lightning_flows.core.errors import ShapeError

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from numpy.typing import NDArray

    Array = NDArray[Any]
    ArrayLike = Tensor | Array

DPI = 150
DATA, MODEL, ACCENT = "#8d99a6", "#2563ac", "#c8553d"
SERIES = (ACCENT, MODEL, "#3a7d44")
DIVERGING, SEQUENTIAL = "RdBu_r", "magma"
SMALL, MEDIUM = 8, 9  # font sizes in points


def pixels(figure: Figure) -> Array:
    """Render a figure: (height, width, 3), uint8."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg

    canvas = FigureCanvasAgg(figure)
    canvas.draw()  # type: ignore[no-untyped-call]
    return np.asarray(canvas.buffer_rgba())[..., :3].copy()  # type: ignore[no-untyped-call]


def save_png(figure: Figure, path: Path) -> None:
    """Write a figure and the folders above it; the same figure gives the same bytes."""
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=figure.dpi, format="png", metadata={"Software": None})


def array(values: ArrayLike) -> Array:
    """A tensor on any device, or an array, as an array of floating point numbers."""
    if isinstance(values, Tensor):
        values = values.detach().cpu().double().numpy()
    return np.asarray(values, dtype=float)


def figure(width: float, height: float, *, pad: float = 0.04) -> Figure:
    """An empty figure; width, height and the room around its panels in inches."""
    from matplotlib.figure import Figure
    from matplotlib.layout_engine import ConstrainedLayoutEngine

    layout = ConstrainedLayoutEngine(w_pad=pad, h_pad=pad, wspace=0, hspace=0)
    return Figure(figsize=(width, height), dpi=DPI, layout=layout)


def point_panels(
    limits: Array, count: int = 1, *, names: Sequence[str] | None = None, room: float = 0.6
) -> tuple[Figure, list[Any]]:
    """Panels side by side for points within these limits, equal in scale along all axes.

    Args:
        limits: lowest and highest value along each axis, (dimensions, 2); three axes give 3-D.
        count: number of panels.
        names: labels of the axes.
        room: height above and below the panels for labels and titles, inches.
    """
    width, spans = len(limits), limits[:, 1] - limits[:, 0]
    aspect = float(np.clip(spans[1] / spans[0], 0.4, 1.6)) if width == 2 else 0.7
    chart = figure(3.4 * count, 3.0 * aspect + room)
    options = {"projection": "3d"} if width == 3 else {}
    panels = [chart.add_subplot(1, count, index + 1, **options) for index in range(count)]
    for panel in panels:
        for axis, ends in zip("xyz", limits, strict=False):
            getattr(panel, f"set_{axis}lim")(*ends)
        if width > 1:
            panel.set_aspect("equal")
        if width == 3:
            _lighten(panel)
        name_axes(panel, names, width)
        plain(panel)
    return chart, panels


def _lighten(panel: Any) -> None:
    """A 3-D panel without a grid, on pale walls, small enough for its labels."""
    panel.grid(False)
    panel.set_box_aspect(None, zoom=0.8)
    for axis in (panel.xaxis, panel.yaxis, panel.zaxis):
        axis.pane.set_facecolor("#f3f5f7")
        axis.pane.set_edgecolor("white")
        axis.line.set_linewidth(0.6)
        set_ticks(axis, 3)


def set_ticks(axis: Any, most: int = 8, *, integer: bool = False) -> None:
    """Limit the number of ticks of an axis, and to whole numbers where asked."""
    from matplotlib.ticker import MaxNLocator

    axis.set_major_locator(MaxNLocator(most, integer=integer))


def check_points(points: Array) -> Array:
    """Refuse what are not points in one to three dimensions.

    Raises:
        ShapeError: says what came.
    """
    if points.ndim != 2 or not 1 <= points.shape[1] <= 3:
        raise ShapeError(f"Points have shape {points.shape}; expected is (n, 1 to 3).")
    return points


def check_some(rows: Array, what: str) -> None:
    """Refuse no rows at all where each is a panel: a figure of none has no size.

    Raises:
        ShapeError: says what is missing.
    """
    if not len(rows):
        raise ShapeError(f"There are no {what} to draw; at least one is needed.")


def limits(points: Array, margin: float = 0.1, *, reaching: Array | None = None) -> Array:
    """Lowest and highest value along each axis with a margin: (dimensions, 2).

    They reach out to further points, but not so far that these would dwarf the first ones.
    """
    finite = check_points(points)[np.isfinite(points).all(1)]
    if not len(finite):
        return np.array([[-1.0, 1.0]] * points.shape[1])
    low, high = finite.min(0), finite.max(0)
    room = margin * np.maximum(high - low, 1e-3 * max(1e-6, float(np.abs(finite).max())))
    own = np.stack([low - room, high + room], 1)
    if reaching is None:
        return own
    reach = (own[:, 1:] - own[:, :1]) / 2
    both = limits(np.concatenate([points, reaching]), margin)
    return np.clip(both, own[:, :1] - reach, own[:, 1:] + reach)


def within(points: Array, limits: Array) -> Array:
    """The points that lie inside the limits; those that are not finite do not."""
    return points[((points >= limits[:, 0]) & (points <= limits[:, 1])).all(1)]


def dots(n: int) -> dict[str, Any]:
    """Options of a cloud of points: the more, the smaller."""
    return {"s": float(np.clip(3000 / max(n, 1), 3, 16)), "alpha": 0.7, "linewidths": 0}


def name_axes(axes: Any, names: Sequence[str] | None, width: int) -> None:
    """Label the axes x₁, x₂, x₃ unless named."""
    names = names or [f"x{'₁₂₃'[index]}" for index in range(width)]
    for axis, name in zip("xyz", names[:width], strict=False):
        getattr(axes, f"set_{axis}label")(name, fontsize=MEDIUM)


def title(axes: Axes, text: str, size: float = MEDIUM) -> None:
    """A small title close to its panel."""
    axes.set_title(text, fontsize=size, pad=3)


def legend(figure: Figure) -> None:
    """One legend in a row above all panels."""
    tight: dict[str, Any] = {"columnspacing": 1.0, "handlelength": 1.2, "handletextpad": 0.5}
    figure.legend(loc="outside upper center", ncols=3, fontsize=SMALL, frameon=False, **tight)


def plain(axes: Axes, *, frame: bool = True) -> None:
    """Small ticks, and no frame but the two axes."""
    axes.tick_params(labelsize=SMALL, length=2)
    for side, spine in axes.spines.items():
        spine.set_visible(frame and side in ("left", "bottom"))
