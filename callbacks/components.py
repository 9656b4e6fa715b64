"""Pictures of local principal components."""

from collections.abc import Mapping
from functools import partial
from typing import TYPE_CHECKING, ClassVar, Literal

from lightning_flows import plots
from lightning_flows.jacobians.components import check_options, components

from .base import FlowCallback, Result, Scene, Task, chunks, joined
from .writer import Drawing

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["ComponentExtraction"]

CHUNK = 4  # Jacobians are heavy
BACKGROUND = 1024  # data points behind arrows


class ComponentExtraction(FlowCallback):
    """Extracts local principal components at fixed data points, draws them and counts dimensions.

    Images give a row of component images for each point, points in two or three dimensions
    arrows on the data, other events a table of colours. Beside it come the spectrum and the
    histogram of intrinsic dimensions; `val/dimension` (`test/dimension`) is their mean. The NPZ
    file holds all fields of `jacobians.Components`, with the k widest axes and all scales.

    Args:
        points: number of fixed data points; classes take turns where there are labels.
        k: number of components to draw and to keep.
        tikhonov: weight of the Tikhonov penalty that the flow was trained with, or half the
            variance of the noise on its data; sets the floor of the spectrum.
        threshold: with `tikhonov`, a direction counts for the dimension if its variance exceeds
            this multiple of 2 tikhonov.
        relative: without `tikhonov`, a direction counts if its variance exceeds this fraction of
            the largest.
        through: differentiate the decoder, or the encoder (autoregressive flows). None takes the
            encoder of a module whose `kind` is "inference surjection", since its decoder draws
            another point with the same latent, and the decoder of all others.
        chunk_size: directions to differentiate along at a time; None chooses.
        every_n_epochs: how often to draw; 0 draws at the end of fit only.
        seed: starting point of random numbers, where encode or decode draw any.
        name: folder of the files, and name of the images in loggers.

    Raises:
        ConfigError: an option is out of range.
    """

    needs: ClassVar[tuple[str, ...]] = ("encode", "decode")

    def __init__(
        self,
        points: int = 8,
        *,
        k: int = 6,
        tikhonov: float = 0.0,
        threshold: float = 2.0,
        relative: float = 1e-3,
        through: Literal["decode", "encode"] | None = None,
        chunk_size: int | None = None,
        every_n_epochs: int = 5,
        seed: int = 0,
        name: str = "components",
    ) -> None:
        super().__init__(name, points=points, every_n_epochs=every_n_epochs, seed=seed)
        check_options(k, tikhonov, threshold, relative, through or "decode")
        self.k = k
        self.tikhonov = tikhonov
        self.through = through
        self._extract = partial(
            components,
            tikhonov=tikhonov,
            threshold=threshold,
            relative=relative,
            chunk_size=chunk_size,
        )

    def work(self, scene: Scene) -> list[Task]:
        """Components in chunks of points."""
        return [partial(self._at, scene, *chunk) for chunk in chunks(len(scene.points.x), CHUNK)]

    def scalars(self, results: list[Result]) -> Mapping[str, float]:
        """Mean intrinsic dimension."""
        return {"dimension": float(joined(results, "dimension").nanmean())}

    def draw(self, scene: Scene, results: list[Result]) -> Drawing:
        """Components, spectrum, dimensions."""
        found = {key: joined(results, key) for key in results[0]}
        figures = {
            "": self._main(scene, found),
            "spectrum": plots.spectrum(found["scales"], tikhonov=self.tikhonov),
            "dimension": plots.dimension_histogram(found["dimension"]),
        }
        return Drawing(figures, found)

    def _at(self, scene: Scene, start: int, stop: int) -> Result:
        x, context = scene.batch(start, stop)
        module = scene.module
        loses = getattr(module, "kind", None) == "inference surjection"
        found = self._extract(
            lambda x: module.encode(x, *context),
            lambda z: module.decode(z, *context),
            x,
            through=self.through or ("encode" if loses else "decode"),
        )
        kept = {name: getattr(found, name)[:, : self.k].clone() for name in ("axes", "directions")}
        result = {**vars(found), **kept}
        return {**result, "reconstructed": module.decode(found.latents, *context)}

    def _main(self, scene: Scene, found: Result) -> "Figure":
        axes, scales = found["axes"], found["scales"][:, : self.k]
        if scene.to_image is not None:
            images = scene.to_image(found["points"])
            if images[0].numel() == axes[0, 0].numel():
                return plots.component_images(
                    images,
                    axes.reshape(*axes.shape[:2], *images.shape[1:]),
                    scales,
                    reconstructions=scene.to_image(found["reconstructed"]),
                )
        flat = axes.flatten(2)
        if flat.shape[2] in (2, 3):
            points, data = found["points"].flatten(1), scene.more(BACKGROUND).x.flatten(1)
            return plots.component_arrows(points, flat, scales, data=data)
        return plots.component_matrix(flat, scales)
