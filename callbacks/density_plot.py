"""Pictures of densities in the plane and on surfaces."""

from functools import partial
from typing import ClassVar

import torch
from torch import Tensor

from lightning_flows import plots
from lightning_flows.core.errors import ShapeError, check_from_zero, check_least
from lightning_flows.plots.canvas import limits

from .base import FlowCallback, Result, Scene, Task, chunks, joined
from .drawing.surfaces import surface_of
from .drawing.writer import Drawing

__all__ = ["DensityPlot"]


class DensityPlot(FlowCallback):
    """Draws the density of a module on two-dimensional data as a heat map.

    The rectangle is that of fixed data points with a margin. Of a module whose `support` is the
    unit sphere in space, two angles or the simplex of three shares, the density is drawn there,
    with the points upon it. A conditional module is given the
    context of the first of them.

    Args:
        resolution: number of cells along each axis.
        margin: room around the data, as a fraction of its width.
        points: number of data points that set the rectangle.
        every_n_epochs: how often to draw; 0 draws at the end of fit only.
        seed: starting point of random numbers, where log_prob draws any.
        name: folder of the files, and name of the images in loggers.

    Raises:
        ConfigError: an option is out of range.
    """

    needs: ClassVar[tuple[str, ...]] = ("log_prob",)

    def __init__(
        self,
        resolution: int = 200,
        *,
        margin: float = 0.15,
        points: int = 512,
        every_n_epochs: int = 1,
        seed: int = 0,
        name: str = "density",
    ) -> None:
        super().__init__(name, points=points, every_n_epochs=every_n_epochs, seed=seed)
        check_least(2, resolution=resolution)
        check_from_zero(margin=margin)
        self.resolution = resolution
        self.margin = margin

    def work(self, scene: Scene) -> list[Task]:
        """The grid, some cells at a time."""
        grid = self._grid(scene).flatten(0, -2)
        return [
            partial(self._score, scene, grid[start:stop]) for start, stop in chunks(len(grid), 4096)
        ]

    def draw(self, scene: Scene, results: list[Result]) -> Drawing:
        """The heat map."""
        grid = self._grid(scene)
        log_prob = joined(results, "log_prob").reshape(grid.shape[:-1])
        surface = surface_of(scene.module)
        if surface is not None:
            figure = surface.figure(data=scene.points.x, log_prob=log_prob)
            return Drawing({"": figure}, {"grid": grid, "log_prob": log_prob})
        (left, right), (bottom, top) = self._limits(scene).tolist()
        figure = plots.density(log_prob, (left, right, bottom, top))
        return Drawing({"": figure}, {"grid": grid, "log_prob": log_prob})

    def _limits(self, scene: Scene) -> Tensor:
        points = scene.points.x.flatten(1)
        if points.shape[1] != 2:
            raise ShapeError(
                f"DensityPlot is for data of two dimensions; events have {points.shape[1]}."
            )
        return torch.as_tensor(limits(points.double().numpy(), self.margin))

    def _grid(self, scene: Scene) -> Tensor:
        """Centers of the cells, (rows, columns, 2), or those of a surface; rows run upwards."""
        surface = surface_of(scene.module)
        if surface is not None:
            return surface.points(self.resolution)
        across, up = (
            low + (torch.arange(self.resolution) + 0.5) * (high - low) / self.resolution
            for low, high in self._limits(scene).float()
        )
        return torch.stack(torch.meshgrid(across, up, indexing="xy"), -1)

    def _score(self, scene: Scene, grid: Tensor) -> Result:
        x = scene.move(grid.reshape(-1, *scene.points.x.shape[1:]))
        _, context = scene.batch(0, 1)
        rows = tuple(entry.expand(len(x), *entry.shape[1:]) for entry in context)
        return {"log_prob": scene.module.log_prob(x, *rows)}
