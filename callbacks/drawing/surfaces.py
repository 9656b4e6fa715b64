"""Which pictures points on known manifolds have."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from lightning_flows import plots
from lightning_flows.core.support import Simplex, Sphere, Support, Torus
from lightning_flows.plots.manifolds import angle_grid, globe_grid, triangle_grid

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["Surface", "figure_of_points", "surface_of"]


@dataclass(frozen=True)
class Surface:
    """A manifold of two dimensions that a picture shows as a whole.

    Args:
        grid: places of cells that cover it, (..., features), from their number along one side.
        figure: draws points, or log-densities at those places.
    """

    grid: Callable[[int], Any]
    figure: Callable[..., Figure]

    def points(self, resolution: int) -> Tensor:
        """The grid, in single precision."""
        return torch.from_numpy(self.grid(resolution)).float()


_SURFACES: dict[Support, Surface] = {
    Sphere(2): Surface(globe_grid, plots.globe),
    Torus(2): Surface(angle_grid, plots.angles),
    Simplex(2): Surface(triangle_grid, plots.triangle),
}


def surface_of(module: Any) -> Surface | None:
    """The surface that the data of a module lies on; None where it has no `support` of its own."""
    return _SURFACES.get(getattr(module, "support", None))  # type: ignore[arg-type] # or None


def figure_of_points(module: Any) -> Callable[..., Figure] | None:
    """What draws points of a module that lie on a surface, or angles by their first two."""
    surface = surface_of(module)
    if surface is not None:
        return surface.figure
    support = getattr(module, "support", None)
    return _first_two_angles if isinstance(support, Torus) and support.n > 1 else None


def _first_two_angles(samples: Tensor, data: Tensor) -> Figure:
    return plots.angles(samples[:, :2], data[:, :2])
