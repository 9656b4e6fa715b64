"""A callback of one's own: histograms of latents beside the normal density."""

from functools import partial

import torch
from matplotlib.figure import Figure

from lightning_flows.callbacks import Drawing, FlowCallback, Result, Scene, Task, chunks, joined


class LatentHistogram(FlowCallback):
    """Draws where data lands in the latent space, which a trained flow makes normal.

    Args:
        points: number of data points.
        every_n_epochs: how often to draw; 0 draws at the end of fit only.
        name: folder of the files, and name of the images in loggers.
    """

    needs = ("encode",)

    def __init__(
        self, points: int = 256, *, every_n_epochs: int = 1, name: str = "latents"
    ) -> None:
        super().__init__(name, points=points, every_n_epochs=every_n_epochs)

    def work(self, scene: Scene) -> list[Task]:
        return [partial(self._encode, scene, *chunk) for chunk in chunks(len(scene.points.x))]

    def draw(self, scene: Scene, results: list[Result]) -> Drawing:
        latents = joined(results, "latents")
        figure = Figure(figsize=(5, 3), layout="constrained")
        axes = figure.subplots()
        axes.hist(latents.flatten().numpy(), bins=40, density=True, color="tab:blue", alpha=0.6)
        grid = torch.linspace(-4, 4, 200)
        axes.plot(grid, (-(grid**2) / 2).exp() / (2 * torch.pi) ** 0.5, color="black")
        axes.set(xlabel="latent", ylabel="density", title="all latents, and the normal density")
        return Drawing({"": figure}, {"latents": latents})

    def scalars(self, results: list[Result]) -> dict[str, float]:
        return {"latent_variance": float(joined(results, "latents").var())}

    def _encode(self, scene: Scene, start: int, stop: int) -> Result:
        x, context = scene.batch(start, stop)
        return {"latents": scene.module.encode(x, *context).flatten(1)}
