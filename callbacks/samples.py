"""Pictures of samples."""

from functools import partial
from typing import ClassVar

from torch import Tensor

from lightning_flows import plots
from lightning_flows.core.errors import check_from_zero

from .base import FlowCallback, Result, Scene, Task, as_points, chunks, joined
from .drawing.surfaces import figure_of_points
from .drawing.writer import Drawing

__all__ = ["SampleGrid"]


class SampleGrid(FlowCallback):
    """Draws samples: images as a grid, points in one to three dimensions beside data.

    Points of the unit sphere, angles and shares that sum to 1 have pictures of their own. Of events
    of another shape the first two entries are drawn as points. A conditional module is given the
    context of the fixed data points in turn.

    Args:
        n: number of samples; as many points are taken from the data set.
        temperature: factor on the standard deviation of the base; 1 is the density itself.
        every_n_epochs: how often to draw; 0 draws at the end of fit only.
        seed: starting point of the samples, which then change with the model alone.
        name: folder of the files, and name of the images in loggers.
    """

    needs: ClassVar[tuple[str, ...]] = ("sample",)

    def __init__(
        self,
        n: int = 64,
        *,
        temperature: float = 1.0,
        every_n_epochs: int = 1,
        seed: int = 0,
        name: str = "samples",
    ) -> None:
        super().__init__(name, points=n, every_n_epochs=every_n_epochs, seed=seed)
        check_from_zero(temperature=temperature)
        self.n = n
        self.temperature = temperature

    def work(self, scene: Scene) -> list[Task]:
        """Samples in chunks."""
        return [partial(self._sample, scene, start, stop) for start, stop in chunks(self.n)]

    def draw(self, scene: Scene, results: list[Result]) -> Drawing:
        """A grid, or points beside data."""
        samples = joined(results, "samples")
        if scene.to_image is not None:
            figure = plots.image_grid(scene.to_image(samples))
        elif (drawn := figure_of_points(scene.module)) is not None:
            figure = drawn(samples, scene.points.x)
        else:
            figure = plots.scatter(as_points(samples), as_points(scene.points.x))
        return Drawing({"": figure}, {"samples": samples})

    def _sample(self, scene: Scene, start: int, stop: int) -> Result:
        options = {} if self.temperature == 1 else {"temperature": self.temperature}
        if scene.points.context is None:
            return {"samples": scene.module.sample(stop - start, **options)}
        rows = [index % len(scene.points.x) for index in range(start, stop)]
        context = scene.move(scene.points.context[rows])
        samples: Tensor = scene.module.sample(1, context, **options)
        return {"samples": samples[:, 0]}
