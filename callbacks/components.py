"""Pictures of local principal components."""

from collections.abc import Mapping
from functools import partial
from typing import TYPE_CHECKING, ClassVar, Literal

import torch
from lightning.pytorch import LightningModule, Trainer
from torch import Tensor

from lightning_flows import plots
from lightning_flows.components.agreement import agreement
from lightning_flows.components.dimension import shrinkage
from lightning_flows.components.extract import OVERSAMPLING, components
from lightning_flows.components.options import Through, check_options
from lightning_flows.components.results import Components
from lightning_flows.components.traversal import traverse
from lightning_flows.core.errors import check_least

from .base import FlowCallback, Result, Scene, Task, chunks, joined
from .drawing.budget import STEPS, Plan, plan
from .drawing.maps import drawn_as, draws, maps, through_of
from .drawing.signs import beside, shown, signs
from .drawing.writer import Drawing

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["ComponentExtraction"]

CHUNK = 4  # Jacobians are heavy
BACKGROUND = 1024  # data points behind arrows and curves
LENGTH = 2.0  # of a walk in each direction, standard deviations


class ComponentExtraction(FlowCallback):
    """Extracts local principal components at fixed data points, draws them and counts dimensions.

    Images give a row of component images for each point, and strips of images along walks; points
    in two or three dimensions give arrows and curves on the data; other events a table of colors.
    Beside it come the spectrum and the histogram of intrinsic dimensions. An axis keeps the sign
    that it had at its point in the drawing before; in the first one neighbors agree.

    Components, `tikhonov` and `noise` are of preprocessed data where the module has a
    preprocessing of its own (`FlowModule.model_maps`); so are the spectrum, dimensions, condition
    and orthogonality. Axes, their standard deviations and walks are drawn in the units of the data.

    Logged are `val/dimension`, the mean intrinsic dimension; `val/jacobian/condition`, the median
    of largest by smallest scale; `val/jacobian/orthogonality`, the root mean square of the cosines
    between columns of J, 0 where latents move data along axes of their own;
    `val/component_agreement`, the mean |cos| between each axis and its match in the drawing
    before; and `usage/component_products`, how many products with Jacobians the drawing took. In
    `trainer.test` the first names start with `test/`. The iterative method sees k directions
    alone: it gives no dimension, condition and orthogonality.

    The NPZ file holds all fields of `jacobians.Components`, with the k widest axes, directions and
    displacements and all scales that were found, the walks, condition, orthogonality, and labels
    where there are any. A point where the Jacobian is not finite is named in a warning, and holds
    NaN.

    Args:
        points: number of fixed data points; classes take turns where there are labels.
        k: number of components to draw and to keep; 6, or as many as there are, by default.
        walks: number of points to walk from along each component.
        budget: most Jacobian products in one drawing. What would cost more is cut, walks before
            points, and a warning says so. A product is J·v or Jᵀ·v at one point.
        method: "full" builds Jacobians, "iterative" does not; by default, as
            `components.components` chooses.
        tikhonov: weight of the Tikhonov penalty that the flow was trained with; sets the floor of
            the spectrum.
        noise: the same said by the standard deviation of noise on the preprocessed training data.
        threshold: with `tikhonov` or `noise`, a direction counts for the dimension if its
            variance exceeds this multiple of the floor.
        relative: without, a direction counts if its variance exceeds this fraction of the largest.
        through: differentiate the decoder, or the encoder (autoregressive flows). None takes the
            encoder of a module whose `kind` is "inference surjection", since its decoder draws
            another point with the same latent, and the decoder of all others. There are no walks
            where the decoder draws.
        chunk_size: directions to differentiate along at a time; None chooses.
        every_n_epochs: how often to draw; 0 draws at the end of fit only.
        seed: starting point of random numbers, where encode or decode draw any.
        name: folder of the files, and name of the images in loggers.

    Raises:
        ConfigError: an option is out of range.
    """

    needs: ClassVar[tuple[str, ...]] = ("encode", "decode")
    figures: ClassVar[tuple[str, ...]] = ("", "walks", "spectrum", "dimension")

    def __init__(
        self,
        points: int = 8,
        *,
        k: int | None = None,
        walks: int = 2,
        budget: int = 20_000,
        method: Literal["full", "iterative"] | None = None,
        tikhonov: float = 0.0,
        noise: float = 0.0,
        threshold: float = 5.0,
        relative: float = 1e-3,
        through: Through | None = None,
        chunk_size: int | None = None,
        every_n_epochs: int = 5,
        seed: int = 0,
        name: str = "components",
    ) -> None:
        super().__init__(name, points=points, every_n_epochs=every_n_epochs, seed=seed)
        check_options(
            k, tikhonov, threshold, relative, through or "decode", method=method, noise=noise
        )
        check_least(0, walks=walks)
        check_least(1, budget=budget)
        self.k = k
        self.walks = walks
        self.budget = budget
        self.method = method
        self.through = through
        self.shrinkage = shrinkage(tikhonov, noise)
        self._extract = partial(
            components,
            tikhonov=tikhonov,
            noise=noise,
            threshold=threshold,
            relative=relative,
            chunk_size=chunk_size,
        )
        self._walk = partial(traverse, steps=STEPS, length=LENGTH, chunk_size=chunk_size)
        self._last: Components | None = None

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Check the module, and forget earlier drawings."""
        super().setup(trainer, pl_module, stage)
        self._last = None

    def work(self, scene: Scene) -> list[Task]:
        """Components in chunks of points, and walks along one component each."""
        made = self._plan(scene)
        parts = chunks(made.points, CHUNK)
        tasks: list[Task] = [partial(self._at, scene, made, *part) for part in parts]
        walks = range(made.k) if made.walks else ()
        return [*tasks, *(partial(self._along, scene, made, component) for component in walks)]

    def scalars(self, results: list[Result]) -> Mapping[str, float]:
        """Dimension, condition, orthogonality, agreement with the last drawing."""
        found = self._collected(results)
        numbers = {}
        if "condition" in found:
            numbers["dimension"] = float(found["dimension"].nanmean())
            numbers["jacobian/condition"] = float(found["condition"].nanmedian())
            numbers["jacobian/orthogonality"] = float(found["orthogonality"].nanmean())
        if self._last is not None:
            kept = agreement(shown(found), self._last).axes
            numbers["component_agreement"] = float(kept.nanmean())
        self._last = shown(found)
        return numbers

    def usage(self, results: list[Result]) -> Mapping[str, float]:
        """Products with Jacobians."""
        return {"component_products": float(torch.cat([r["products"] for r in results]).sum())}

    def draw(self, scene: Scene, results: list[Result]) -> Drawing:
        """Components, walks, spectrum, dimensions."""
        found = self._collected(results)
        self._report(found)
        if scene.points.labels is not None:
            found["labels"] = scene.points.labels[: len(found["points"])]
        figures = {"": self._main(scene, found)}
        if "walks" in found:
            figures["walks"] = self._walks(scene, found)
        figures["spectrum"] = plots.spectrum(
            found["scales"], tikhonov=self.shrinkage / 2, preprocessed=_preprocessed(found)
        )
        if "condition" in found:
            figures["dimension"] = plots.dimension_histogram(found["dimension"])
        return Drawing(figures, found)

    def _plan(self, scene: Scene) -> Plan:
        """What the budget pays for at these points."""
        x, context = scene.batch(0, 1)
        wanted = len(scene.points.x)
        walkable = drawn_as(scene) is not None and not draws(scene.module)
        walks = min(self.walks, wanted) if walkable else 0
        made, cut = plan(
            min(scene.module.encode(x, *context)[0].numel(), x[0].numel()),
            k=self.k,
            method=self.method,
            through=through_of(scene.module, self.through),
            points=wanted,
            walks=walks,
            budget=self.budget,
        )
        if cut:
            self._warn(f"{type(self).__name__}: {cut}")
        return made

    def _at(self, scene: Scene, made: Plan, start: int, stop: int) -> Result:
        """Components of some points; by the full method all scales."""
        x, context = scene.batch(start, stop)
        found = self._extract(
            **maps(scene, context),
            x=x,
            k=None if made.full else made.k,
            method="full" if made.full else "iterative",
            through=through_of(scene.module, self.through),
        )
        few = ("axes", "directions", "coordinates", "displacements")
        result = vars(found) | {name: getattr(found, name)[:, : made.k].clone() for name in few}
        result["explained"] = found.explained
        result["reconstructed"] = scene.module.decode(found.latents, *context)
        if made.full:
            result["condition"] = found.scales[:, 0] / found.scales[:, -1]
            result["orthogonality"] = _orthogonality(found)
        block = made.cost if made.full else 2 * (made.k + OVERSAMPLING)
        result["products"] = block * found.iterations.nan_to_num(1.0).clamp_min(1.0)
        return result

    def _along(self, scene: Scene, made: Plan, component: int) -> Result:
        """Walks from some points along one component."""
        x, context = scene.batch(0, made.walks)
        walk = self._walk(
            **maps(scene, context),
            x=x,
            component=component,
            method="full" if made.full else "iterative",
        )
        cost = x.new_full((len(x),), made.walk_cost, dtype=torch.float32)
        return {"walks": walk.points[:, None], "offsets": walk.offsets, "products": cost}

    def _collected(self, results: list[Result]) -> dict[str, Tensor]:
        """All results, with signs that agree with the last drawing, or between neighbors."""
        at = [result for result in results if "axes" in result]
        found = {key: joined(at, key) for key in at[0] if key != "products"}
        sign = signs(shown(found), self._last)
        for name in ("axes", "directions", "coordinates", "displacements"):
            found[name] = found[name] * beside(sign, found[name])
        along = [result for result in results if "walks" in result]
        if along:
            walks = torch.cat([result["walks"] for result in along], 1)
            ahead = walks[:, :, STEPS + 1] - walks[:, :, STEPS - 1]
            arrows = found["displacements"][: len(walks)]
            back = (ahead * arrows).flatten(2).sum(2) < 0
            found["walks"] = torch.where(beside(back, walks), walks.flip(2), walks)
            found["offsets"] = along[0]["offsets"]
        return found

    def _report(self, found: dict[str, Tensor]) -> None:
        """Name the points that have no components, or uncertain ones."""
        broken = found["scales"].isnan().any(1)
        for points, what in (
            (broken, "the Jacobian is not finite; they are left out"),
            (~broken & ~found["converged"], "the iteration has not reached its tolerance"),
        ):
            if points.any():
                numbers = ", ".join(map(str, points.nonzero()[:, 0].tolist()))
                self._warn(f"{type(self).__name__}: at points {numbers} {what}.")

    def _main(self, scene: Scene, found: dict[str, Tensor]) -> "Figure":
        parts = shown(found)
        axes, scales = parts.data_axes, parts.data_scales
        flat = axes.flatten(2)
        kind = drawn_as(scene)
        if kind == "image" and scene.to_image is not None:
            images = scene.to_image(found["points"])
            return plots.component_images(
                images,
                axes.reshape(*axes.shape[:2], *images.shape[1:]),
                scales,
                reconstructions=scene.to_image(found["reconstructed"]),
            )
        if kind == "point":
            points, data = found["points"].flatten(1), scene.more(BACKGROUND).x.flatten(1)
            return plots.component_arrows(points, flat, scales, data=data)
        return plots.component_matrix(flat, scales)

    def _walks(self, scene: Scene, found: dict[str, Tensor]) -> "Figure":
        walks = found["walks"]
        if drawn_as(scene) == "point":
            data = scene.more(BACKGROUND).x.flatten(1)
            return plots.component_curves(walks.flatten(3), data=data)
        assert scene.to_image is not None
        images = scene.to_image(walks.flatten(0, 2)).unflatten(0, walks.shape[:3])
        scales = shown(found).data_scales[: len(walks)]
        return plots.component_strips(images, scales, found["offsets"])


def _preprocessed(found: Mapping[str, Tensor]) -> bool:
    """Whether the flow sees other numbers than those of the data."""
    y, x = found["preprocessed"], found["points"]
    return y.shape != x.shape or not torch.equal(y, x.to(y))


def _orthogonality(found: Components) -> Tensor:
    """Root mean square of the cosines between columns of J, (batch,); 0 where there is one."""
    right = found.scales[..., None] * found.directions.flatten(2)  # JᵀJ = V S² Vᵀ
    columns = torch.nn.functional.normalize(right, dim=1)
    gram = columns.mT @ columns
    off = gram - torch.diag_embed(gram.diagonal(dim1=1, dim2=2))
    size = gram.shape[1]
    cosines: Tensor = off.flatten(1).norm(dim=1) / max(1.0, (size * (size - 1)) ** 0.5)
    return cosines
