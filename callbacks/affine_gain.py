"""Whether one more layer would help."""

from collections.abc import Mapping
from functools import partial
from typing import ClassVar

from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.utilities import rank_zero_info
from torch import Tensor

from lightning_flows.core.errors import check_least
from lightning_flows.metrics import BlockGain, affine_gain

from .base import FlowCallback, Result, Scene, Task
from .drawing.writer import Drawing

__all__ = ["AffineGainMonitor"]

ERRORS = 2.0  # standard errors above zero from which a gain counts


class AffineGainMonitor(FlowCallback):
    """Measures what one more affine coupling block could gain, and says so at the end of fit.

    `metrics.affine_gain` of the latents of fixed points, `module.encode(x)`: a lower bound in nats
    of Δ of Draxler et al. (2024, arXiv 2402.06578), which is 0 if and only if latents are standard
    normal. It is meant for flows whose base is that density. While a flow still trains, its
    latents are not normal whatever its layers could do; the figure that counts is that of the end.
    Where this is above zero by two standard errors, one sentence says that more layers would help.

    Logged are `<name>` and `<name>_se`, its standard error, with `val/` before them in fit and
    validate, and `test/` in a test. The NPZ file holds both, and the rotation of the block.

    Args:
        points: number of data points; half of them fit the block, a quarter chooses it.
        rotations: number of random rotations to choose from.
        every_n_epochs: how often to measure; 0 measures at the end of fit only, where nothing can
            be logged.
        seed: starting point of splits, rotations and networks.
        name: folder of the files, and name in loggers.

    Raises:
        ConfigError: an option is out of range.
    """

    needs: ClassVar[tuple[str, ...]] = ("encode",)

    def __init__(
        self,
        points: int = 2000,
        *,
        rotations: int = 8,
        every_n_epochs: int = 10,
        seed: int = 0,
        name: str = "affine_gain",
    ) -> None:
        super().__init__(name, points=points, every_n_epochs=every_n_epochs, seed=seed)
        check_least(0, rotations=rotations)
        self.rotations = rotations
        self._found: BlockGain | None = None

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Check the module, and be ready to speak."""
        super().setup(trainer, pl_module, stage)
        self._found = None

    @property
    def helps(self) -> bool | None:
        """Whether the last measurement says that a block would help; None where there is none.

        Only rank 0 knows.
        """
        found = self._found
        return None if found is None else bool(found.gain > ERRORS * found.standard_error)

    def measure(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Measure and log now; called on every rank."""
        self._found = None
        self._show(trainer, pl_module, f"{trainer.current_epoch + 1:04d}", stage="val")

    def work(self, scene: Scene) -> list[Task]:
        """All points at once, since one block is fitted to all."""
        return [partial(_measure, scene, self.rotations, self.seed)]

    def scalars(self, results: list[Result]) -> Mapping[str, float]:
        """The gain and its standard error."""
        found = results[0]
        return {self.name: found["gain"].item(), f"{self.name}_se": found["standard_error"].item()}

    def draw(self, scene: Scene, results: list[Result]) -> Drawing:
        """No figure; what was found."""
        self._found = BlockGain(**results[0])
        return Drawing({}, dict(results[0]))

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Measure, unless the last epoch did, and say whether more layers would help."""
        super().on_train_end(trainer, pl_module)
        if self.helps and self._found is not None:
            rank_zero_info(
                f"One more affine coupling block would gain {self._found.gain:.3g} ± "
                f"{self._found.standard_error:.2g} nats or more on validation data: give the flow "
                "more layers, or train it longer."
            )


def _measure(scene: Scene, rotations: int, seed: int) -> Result:
    x, context = scene.batch(0, len(scene.points.x))
    z: Tensor = scene.module.encode(x, *context)
    return vars(affine_gain(z, *context, rotations=rotations, seed=seed))
