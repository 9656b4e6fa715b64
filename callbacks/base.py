"""The base of all callbacks that draw, and the promises they share."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, ClassVar

import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.strategies import DDPStrategy
from lightning.pytorch.trainer.states import TrainerFn
from lightning.pytorch.utilities import rank_zero_warn
from torch import Tensor

from lightning_flows.core.errors import ConfigError, check_least, check_name

from .drawing.isolation import evaluation, seeded
from .drawing.points import Points, fixed_points, image_scale, training_points
from .drawing.protocols import batch_keys, context_shape, require
from .drawing.writer import Drawing, write

__all__ = ["CHUNK", "FlowCallback", "Result", "Scene", "Task"]

CHUNK = 16  # points in one piece of work, whatever the number of ranks

Result = Mapping[str, Tensor]
Task = Callable[[], Result]
Track = Callable[[Sequence[int]], Iterable[int]]


@dataclass(frozen=True)
class Scene:
    """A module, fixed points of its data, and how they are drawn.

    Args:
        module: the LightningModule; it has the methods that the callback asked for.
        points: fixed points of the data set, on the CPU.
        to_image: turns events into images in [0, 1]; None where they are none.
        move: brings points to the device and the precision of the module.
        more: takes another number of points from the same data set.
        train: takes points from the training set; None where it cannot be reached.
    """

    module: Any
    points: Points
    to_image: Callable[[Tensor], Tensor] | None
    move: Callable[[Tensor], Tensor]
    more: Callable[[int], Points]
    train: Callable[[int], Points | None]

    def batch(self, start: int, stop: int) -> tuple[Tensor, tuple[Tensor, ...]]:
        """Points where the module is, and the further arguments of its methods (context)."""
        x, context = self.points.x[start:stop], self.points.context
        return self.move(x), () if context is None else (self.move(context[start:stop]),)


class FlowCallback(Callback):
    """Draws pictures of a module now and then, and leaves training as it was.

    A subclass says what it needs (`needs`), splits its work into tasks (`work`) and makes figures
    from their results (`draw`). This class promises that

    - under DDP the tasks are split over the ranks, every rank enters the same collectives, and
      rank 0 alone writes; under other strategies every rank does all the work;
    - a picture does not depend on the number of ranks: task c sees random states seeded by
      (seed, c); the random states and training flags of the run stay as they were;
    - it draws after every n-th epoch, at the end of fit, and at the end of validate and test;
      never in a sanity check or in `fast_dev_run`;
    - an error in drawing becomes one warning, and the run goes on;
    - any LightningModule that has the methods of `needs` will do. Where it has a `context_shape`,
      they are called with a batch of context as their last argument. Where it has a `data_key` or
      a `context_key`, these name the entries of data sets whose items are mappings.

    Files are `<log_dir>/images/<name>/<epochs done>.png` (and .npz), or `validate.png`,
    `test.png`; in loggers the images are called `val/<name>`, in a test `test/<name>`.

    Args:
        name: folder of the files below images/, and name of the images in loggers.
        points: number of fixed points to take from the data set.
        every_n_epochs: how often to draw; 0 draws at the end of fit only.
        seed: starting point of all random numbers.

    Raises:
        ConfigError: an option is out of range.
    """

    needs: ClassVar[tuple[str, ...]] = ()

    def __init__(self, name: str, *, points: int, every_n_epochs: int = 1, seed: int = 0) -> None:
        check_name(name=name)
        check_least(1, points=points)
        check_least(0, every_n_epochs=every_n_epochs, seed=seed)
        self.name = name
        self.points = points
        self.every_n_epochs = every_n_epochs
        self.seed = seed
        self._fixed: Points | None = None
        self._drawn_at = -1
        self._warned: set[str] = set()

    def work(self, scene: Scene) -> list[Task]:
        """Split the work into tasks: the same list on every rank."""
        raise NotImplementedError

    def draw(self, scene: Scene, results: list[Result]) -> Drawing:
        """Make figures from the results of all tasks, in order; called on rank 0."""
        raise NotImplementedError

    def scalars(self, results: list[Result]) -> Mapping[str, float]:
        """Losses and scores to log beside the figures, by name without the stage.

        Called on rank 0, as `usage` is; under other strategies than DDP on every rank.
        """
        return {}

    def usage(self, results: list[Result]) -> Mapping[str, float]:
        """What the drawing took, by name; logged under `usage/`, which HPARAMS leaves out.

        In a test it is logged under `usage/test/`.
        """
        return {}

    def share(
        self, scene: Scene, rank: int = 0, world: int = 1, *, track: Track = iter
    ) -> dict[int, Result]:
        """Do every world-th task, under random states of its own.

        Args:
            scene: what to look at; its module is in evaluation mode.
            rank: number of the first task.
            world: number of ranks that share the tasks.
            track: goes through the numbers of the tasks, such as a progress bar.

        Returns:
            Results on the CPU, by number of the task.
        """
        with seeded(scene.module.device, self.seed, 0):
            tasks = self.work(scene)
        results: dict[int, Result] = {}
        for index in track(range(rank, len(tasks), world)):
            with seeded(scene.module.device, self.seed, index):
                results[index] = {key: t.detach().cpu() for key, t in tasks[index]().items()}
        return results

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Check the module and the names.

        Raises:
            ConfigError: the module lacks a method, or two callbacks share a name.
        """
        require(self, pl_module, self.needs)
        for other in trainer.callbacks:  # type: ignore[attr-defined]
            if other is not self and isinstance(other, FlowCallback) and other.name == self.name:
                raise ConfigError(f"Two callbacks write to images/{self.name}; rename one of them.")
        self._fixed, self._drawn_at = None, -1

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Draw after every n-th epoch."""
        done = trainer.current_epoch + 1
        if self.every_n_epochs and done % self.every_n_epochs == 0:
            self._show(trainer, pl_module, f"{done:04d}", stage="val")

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Draw at the end of fit, unless the last epoch was drawn already."""
        if self._drawn_at != trainer.global_step:
            self._show(trainer, pl_module, f"{trainer.current_epoch:04d}")

    def on_validation_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Draw in `trainer.validate`; the validation inside fit and the sanity check do not."""
        if trainer.state.fn == TrainerFn.VALIDATING:
            self._show(trainer, pl_module, "validate", stage="val")

    def on_test_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Draw in `trainer.test`."""
        self._show(trainer, pl_module, "test", stage="test")

    def _show(
        self, trainer: Trainer, module: LightningModule, stem: str, stage: str | None = None
    ) -> None:
        """Draw and log; `stage` is the prefix of scalars, None in hooks that may not log any."""
        if trainer.fast_dev_run:  # type: ignore[attr-defined]
            return
        self._drawn_at = trainer.global_step
        split = isinstance(trainer.strategy, DDPStrategy) and trainer.world_size > 1
        share = (trainer.global_rank, trainer.world_size) if split else (0, 1)
        with evaluation(module):
            own = self._own_share(trainer, module, *share)
        shares: list[Any] = [own]
        # from here to the log folder is what every rank enters, whatever happened to its share
        if split:
            shares = [None] * trainer.world_size
            torch.distributed.all_gather_object(shares, own)
        folder = Path(trainer.log_dir or trainer.default_root_dir)
        numbers: list[Any] = [None]
        if trainer.is_global_zero or not split:  # what one rank alone gets wrong stalls no other
            numbers = [self._numbers(shares, stage)]
        if split:
            torch.distributed.broadcast_object_list(numbers)
        try:
            if isinstance(numbers[0], str):
                raise _ShareError(numbers[0])
            for name, value in numbers[0].items():
                module.log(name, value, sync_dist=split)
            if trainer.is_global_zero:
                with seeded(module.device, self.seed, 0):
                    drawing = self.draw(self._scene(trainer, module), self._joined(shares))
                    write(trainer, drawing, folder, self.name, stem, stage or "val")
        except Exception as error:  # drawing never ends a run
            self._warn(f"{type(self).__name__} drew nothing: {_described(error)}")

    def _own_share(
        self, trainer: Trainer, module: LightningModule, rank: int, world: int
    ) -> dict[int, Result] | str:
        """Results of every world-th task, or what went wrong."""
        try:
            with seeded(module.device, self.seed, 0):
                scene = self._scene(trainer, module)
            return self.share(scene, rank, world)
        except Exception as error:  # drawing never ends a run
            return _described(error)

    def _numbers(
        self, shares: list[dict[int, Result] | str], stage: str | None
    ) -> dict[str, float] | str:
        """What is to be logged, by its full name, or what went wrong on any rank."""
        try:
            results = self._joined(shares)
            if stage is None:
                return {}
            usage = "usage/test" if stage == "test" else "usage"
            found = {stage: self.scalars(results), usage: self.usage(results)}
            return {
                f"{prefix}/{name}": float(value)
                for prefix, values in found.items()
                for name, value in values.items()
            }
        except Exception as error:  # drawing never ends a run
            return _described(error)

    def _joined(self, shares: list[dict[int, Result] | str]) -> list[Result]:
        results: dict[int, Result] = {}
        for share in shares:
            if isinstance(share, str):
                raise _ShareError(share)
            results |= share
        return [results[index] for index in sorted(results)]

    def _scene(self, trainer: Trainer, module: LightningModule) -> Scene:
        conditional, keys = context_shape(module) is not None, batch_keys(module)
        more = partial(fixed_points, trainer, conditional=conditional, keys=keys)
        if self._fixed is None:
            self._fixed = more(self.points)
        plugin = trainer.precision_plugin
        return Scene(
            module,
            self._fixed,
            image_scale(getattr(trainer, "datamodule", None), self._fixed.x),
            lambda x: plugin.convert_input(x.to(module.device)),
            more,
            partial(training_points, trainer, conditional=conditional, keys=keys),
        )

    def _warn(self, message: str) -> None:
        if message not in self._warned:
            self._warned.add(message)
            rank_zero_warn(message)


class _ShareError(Exception):
    """What went wrong on some rank, already described."""


def _described(error: Exception) -> str:
    return str(error) if isinstance(error, _ShareError) else f"{type(error).__name__}: {error}"


def chunks(n: int, size: int = CHUNK) -> list[tuple[int, int]]:
    """Cut n things into pieces of fixed size: pairs of start and stop."""
    return [(start, min(start + size, n)) for start in range(0, n, size)]


def joined(results: list[Result], key: str) -> Tensor:
    """One entry of all results, concatenated."""
    return torch.cat([result[key] for result in results])


def as_points(x: Tensor) -> Tensor:
    """Events as points that can be drawn: flattened, the first two entries where more than 3."""
    flat = x.flatten(1)
    return flat if flat.shape[1] <= 3 else flat[:, :2]
