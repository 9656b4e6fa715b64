"""What is lost with every latent that is not kept, while a flow is trained."""

from collections.abc import Mapping
from functools import partial
from typing import ClassVar

from torch import Tensor

from lightning_flows import plots
from lightning_flows.core.errors import check_from_zero
from lightning_flows.metrics.truncation import TruncationCurve, latent_order, truncation_curve

from .base import FlowCallback, Result, Scene, Task
from .drawing.writer import Drawing

__all__ = ["TruncationPlot"]


class TruncationPlot(FlowCallback):
    """Draws squared error and likelihood of fixed points against the number of latents kept.

    Latents, which are taken to be standard normal, are rotated and ordered by what they explain
    over these points (`metrics.latent_order`, `metrics.truncation_curve`). The module's own
    `encode` and `decode` are asked, so that figures are those of data in original units. Logged is
    the number of latents that count, `<stage>/<name>/dimension`.

    Args:
        n: number of fixed data points.
        noise: standard deviation of noise on the data, in their units, which the count of latents
            has to exceed; see `metrics.TruncationCurve.dimension`.
        every_n_epochs: how often to draw; 0 draws at the end of fit only.
        seed: starting point of random numbers, where encode or decode draw any.
        name: folder of the files, and name of the images in loggers.

    Raises:
        ConfigError: an option is out of range.
    """

    needs: ClassVar[tuple[str, ...]] = ("encode", "decode")

    def __init__(
        self,
        n: int = 256,
        *,
        noise: float = 0.0,
        every_n_epochs: int = 10,
        seed: int = 0,
        name: str = "truncation",
    ) -> None:
        super().__init__(name, points=n, every_n_epochs=every_n_epochs, seed=seed)
        check_from_zero(noise=noise)
        self.noise = noise

    def work(self, scene: Scene) -> list[Task]:
        """All points at once, since their order of latents is one."""
        return [partial(_measure, scene)]

    def scalars(self, results: list[Result]) -> Mapping[str, float]:
        """The number of latents that count."""
        return {f"{self.name}/dimension": _curve(results).dimension(noise=self.noise)}

    def draw(self, scene: Scene, results: list[Result]) -> Drawing:
        """The two curves."""
        curve = _curve(results)
        dimension = curve.dimension(noise=self.noise)
        figure = plots.truncation(curve.error, curve.nll, dimension=dimension)
        return Drawing({"": figure}, dict(results[0]))


def _measure(scene: Scene) -> Result:
    x, context = scene.batch(0, len(scene.points.x))

    def encode(x: Tensor) -> Tensor:
        z: Tensor = scene.module.encode(x, *context)
        return z

    def decode(z: Tensor) -> Tensor:
        x: Tensor = scene.module.decode(z, *context)
        return x

    order = latent_order(decode, encode(x))
    curve = truncation_curve(encode, decode, x, order.directions)
    return {"error": curve.error, "nll": curve.nll, "entropies": order.entropies}


def _curve(results: list[Result]) -> TruncationCurve:
    return TruncationCurve(results[0]["error"], results[0]["nll"])
