"""Pictures of reconstructions."""

from functools import partial
from typing import ClassVar

from lightning_flows import plots

from .base import FlowCallback, Result, Scene, Task, as_points, chunks, joined
from .drawing.writer import Drawing

__all__ = ["ReconstructionGrid"]


class ReconstructionGrid(FlowCallback):
    """Draws decode(encode(x)): below x where events are images, else joined with it by a line.

    Of events that are neither images nor points in one to three dimensions, the first two
    entries are drawn as points.

    Args:
        n: number of fixed data points.
        every_n_epochs: how often to draw; 0 draws at the end of fit only.
        seed: starting point of random numbers, where encode or decode draw any.
        name: folder of the files, and name of the images in loggers.
    """

    needs: ClassVar[tuple[str, ...]] = ("encode", "decode")

    def __init__(
        self,
        n: int = 16,
        *,
        every_n_epochs: int = 1,
        seed: int = 0,
        name: str = "reconstructions",
    ) -> None:
        super().__init__(name, points=n, every_n_epochs=every_n_epochs, seed=seed)

    def work(self, scene: Scene) -> list[Task]:
        """Round trips in chunks."""
        return [partial(round_trip, scene, *chunk) for chunk in chunks(len(scene.points.x))]

    def draw(self, scene: Scene, results: list[Result]) -> Drawing:
        """Pairs of images, or points with lines."""
        x, reconstructed = scene.points.x, joined(results, "reconstructed")
        if scene.to_image is not None:
            figure = plots.image_pairs(scene.to_image(x), scene.to_image(reconstructed))
        elif as_points(x).shape[1] == 1:
            figure = plots.scatter(as_points(reconstructed), as_points(x))
        else:
            figure = plots.error_lines(as_points(x), as_points(reconstructed))
        return Drawing({"": figure}, {"x": x, "reconstructed": reconstructed})


def round_trip(scene: Scene, start: int, stop: int) -> Result:
    """Encode and decode some of the fixed points."""
    x, context = scene.batch(start, stop)
    return {"reconstructed": scene.module.decode(scene.module.encode(x, *context), *context)}
