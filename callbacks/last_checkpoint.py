"""The newest checkpoint of a run, whatever ends it."""

import copy
import os
import signal
import sys
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

import torch
from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.callbacks import Checkpoint, ModelCheckpoint
from lightning.pytorch.strategies import DDPStrategy, SingleDeviceStrategy
from lightning.pytorch.utilities import rank_zero_only
from torch import Tensor

from lightning_flows.core.errors import ConfigError
from lightning_flows.core.stop_signals import StopSignals

__all__ = ["LastCheckpoint"]

LAST, PREVIOUS = "last.ckpt", "previous.ckpt"


class LastCheckpoint(Checkpoint):
    """Keeps `last.ckpt` the newest state of the run, and ends a run that is told to end.

    Lightning's `ModelCheckpoint(save_last=True)` writes `last.ckpt` only when it writes a best one;
    in a run whose validation loss rises, that is an early epoch. This callback stands beside it and
    saves when an epoch has ended (validation and schedulers included), every `minutes` minutes, at
    the end of training, and when the run is interrupted:

    - SIGTERM and SIGINT (Ctrl+C): after the step that runs, all ranks save, and the process exits
      with status 143 or 130. Validation is finished first. A second signal ends at once.
    - SIGUSR1: after the step that runs, all ranks save, and training goes on.
    - An exception: rank 0 saves the state before the step that failed, and the exception goes on
      its way. Nothing is saved where weights are not finite, where the gradients of earlier batches
      are lost (accumulation), or where ranks were forked.

    Within an epoch a checkpoint is taken only where a resumed run does the same as this one: after
    the last batch of an accumulation, and not between a batch and the validation that follows it.
    What was the newest before is kept as `previous.ckpt` (a link, not a copy), should the disk
    damage the newest.

    Args:
        minutes: time between checkpoints within an epoch; 0 saves after every step that allows it.
        dirpath: folder of the files; that of `ModelCheckpoint`, or else `checkpoints` in the run's
            folder, by default.

    Raises:
        ConfigError: `minutes` is negative.
    """

    def __init__(self, minutes: float = 10.0, dirpath: str | None = None) -> None:
        if not 0 <= minutes < float("inf"):
            raise ConfigError(f"minutes is {minutes}; accepted are numbers from 0 up.")
        self.minutes = minutes
        self.dirpath = dirpath
        self.path: Path | None = None
        self._signals = StopSignals()
        self._saved_at = 0.0
        self._due = False
        self._begun = False
        self._leaving: int | None = None
        self._loops: dict[str, Any] | None = None
        self._before: tuple[int, int, list[dict[str, Any]]] | None = None
        self._flags: Any = None

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Choose the folder, the same on all ranks."""
        if stage != "fit" or trainer.fast_dev_run:  # type: ignore[attr-defined]
            return
        root = trainer.log_dir or trainer.default_root_dir  # every rank asks for it
        beside = [c.dirpath for c in trainer.checkpoint_callbacks if isinstance(c, ModelCheckpoint)]
        folder = next(filter(None, [self.dirpath, *beside]), Path(root, "checkpoints"))
        self.path = Path(trainer.strategy.broadcast(str(folder))) / LAST
        self._begun = False
        self._due, self._leaving, self._loops, self._before = False, None, None, None
        if trainer.world_size > 1:
            # ranks agree about signals on the CPU: asking a GPU would wait for it at every step
            self._flags = torch.distributed.new_group(backend="gloo")

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Take the signals over, after Lightning has."""
        self._begun = True
        if self.path is not None:
            self._signals.install()
            self._saved_at = time.monotonic()

    def on_train_batch_start(
        self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int
    ) -> None:
        """Leave, where that was decided after the batch before; its metrics are logged by now."""
        self._leave()

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Save if it is time, or if a signal has come to any rank."""
        if self.path is None:
            return
        # Lightning would let a plateau scheduler pass over the epoch that was resumed
        trainer.fit_loop.restarting = False
        late = time.monotonic() - self._saved_at >= 60 * self.minutes
        ending, saving = self._agreed(self._signals.ending or 0, self._signals.saving or late)
        self._due = self._due or bool(ending or saving)
        loop = trainer.fit_loop.epoch_loop
        self._before = None
        if not loop._should_accumulate():
            self._remember(trainer, _progress(trainer).processed)
        if not self._due or loop._should_accumulate() or trainer.is_last_batch:
            return
        fetcher = trainer.fit_loop._data_fetcher
        if fetcher is None or loop._should_check_val_fx(fetcher):
            return
        self._save(trainer)
        self._leaving = ending or None

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Save what was due before a validation within an epoch."""
        if self.path is None or not self._due or trainer.sanity_checking or trainer.is_last_batch:
            return
        ending, _ = self._agreed(self._signals.ending or 0, False)
        self._save(trainer)
        self._leaving = ending or None

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Remember where the loops stand: from here Lightning resumes with the next epoch."""
        if self.path is not None:
            self._loops = copy.deepcopy(trainer.fit_loop.state_dict())

    def on_train_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Save what the epoch before has left: only now have all schedulers stepped."""
        if self.path is not None:
            self._remember(trainer, 0)
        if self._loops is None:
            return
        ending, _ = self._agreed(self._signals.ending or 0, False)
        self._save(trainer)
        self._leaving = ending or None
        self._leave()

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Save the end of the run."""
        self._signals.remove()
        if self.path is not None:
            self._save(trainer)

    def on_save_checkpoint(
        self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        """Between two epochs, put in where the loops stood at the end of the first."""
        if self._loops is not None:
            checkpoint["loops"]["fit_loop"] = self._loops

    def on_load_checkpoint(
        self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        """Let `ModelCheckpoint` know its folder again, by whatever path it is reached now."""
        if self.path is None or trainer.ckpt_path is None:
            return
        folder = self.path.parent
        if Path(trainer.ckpt_path).resolve().parent != folder.resolve():
            return
        for state in checkpoint["callbacks"].values():
            if "best_k_models" in state:
                best = {
                    _moved(path, folder): score for path, score in state["best_k_models"].items()
                }
                names = ("best_model_path", "kth_best_model_path", "last_model_path")
                state |= {name: _moved(state[name], folder) for name in names}
                state |= {"dirpath": str(folder), "best_k_models": best}

    def on_exception(
        self, trainer: Trainer, pl_module: LightningModule, exception: BaseException
    ) -> None:
        """Save the state before the step that failed; rank 0 does, alone: others may be gone."""
        self._signals.remove()
        if not (self._begun and trainer.training) or isinstance(exception, SystemExit):
            return  # before, weights may be neither those of the run nor those of the checkpoint
        if self.path is None:
            return
        alone = isinstance(trainer.strategy, SingleDeviceStrategy | DDPStrategy)
        if not (alone and trainer.is_global_zero and _finite(pl_module)):
            return
        with suppress(Exception):  # the exception that is on its way is the one to be told
            checkpoint = self._before_the_step(trainer)
            if checkpoint is None:
                return
            trainer.strategy.checkpoint_io.save_checkpoint(checkpoint, self.path)
            _say(_resume(self.path))

    def teardown(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Give the signals back."""
        self._signals.remove()

    def _remember(self, trainer: Trainer, batches: int) -> None:
        """Keep where loaders stand before the batch that comes next, should its step fail."""
        loader = trainer.fit_loop._combined_loader
        assert loader is not None
        # asking worker processes at every step would cost more than what it saves
        slow = any(
            hasattr(x, "state_dict") and getattr(x, "num_workers", 0) for x in loader.flattened
        )
        self._before = None if slow else (trainer.global_step, batches, loader._state_dicts())

    def _before_the_step(self, trainer: Trainer) -> dict[str, Any] | None:
        """A checkpoint that goes on with the batch that is at work; None where none can."""
        progress = _progress(trainer)
        checkpoint = trainer._checkpoint_connector.dump_checkpoint(False)
        if progress.ready == progress.processed:  # no batch is at work
            return checkpoint
        step, batches, states = self._before or (-1, -1, [])
        if (step, batches) != (trainer.global_step, progress.processed):
            return None
        if states:
            checkpoint["loops"]["fit_loop"]["state_dict"]["combined_loader"] = states
        return checkpoint

    def _agreed(self, ending: int, saving: bool) -> tuple[int, bool]:
        """What any rank has been asked for."""
        if self._flags is None:
            return ending, saving
        flags = torch.tensor([ending, int(saving)])
        torch.distributed.all_reduce(flags, torch.distributed.ReduceOp.MAX, self._flags)
        first, second = flags.tolist()
        return first, bool(second)

    def _save(self, trainer: Trainer) -> None:
        assert self.path is not None
        if trainer.is_global_zero:
            _keep(self.path)
        trainer.save_checkpoint(self.path, weights_only=False)
        self._loops = None
        self._saved_at = time.monotonic()
        self._due = False
        if self._signals.saving:
            self._signals.saving = False
            _say(f"Saved {self.path}; training goes on.")

    def _leave(self) -> None:
        if self._leaving is not None:
            assert self.path is not None
            name = signal.Signals(self._leaving).name
            _say(f"Stopped by {name}. {_resume(self.path)}")
            raise SystemExit(128 + self._leaving)


def _progress(trainer: Trainer) -> Any:
    """Batches of this epoch that were begun (`ready`) and done (`processed`)."""
    return trainer.fit_loop.epoch_loop.batch_progress.current


@rank_zero_only
def _say(line: str) -> None:
    sys.stderr.write(f"{line}\n")


def _resume(path: Path) -> str:
    return f"Saved {path}; to go on, add: --ckpt_path {path}"


def _moved(path: str, folder: Path) -> str:
    return str(folder / Path(path).name) if path else path


def _keep(path: Path) -> None:
    """Let the newest file so far be the one before."""
    if path.exists():
        link = path.with_name(f".{PREVIOUS}.tmp")
        with suppress(OSError):  # a file system without hard links keeps one file
            link.unlink(missing_ok=True)
            os.link(path, link)
            os.replace(link, path.with_name(PREVIOUS))


def _finite(module: LightningModule) -> bool:
    return all(_is_finite(parameter.detach()) for parameter in module.parameters())


def _is_finite(parameter: Tensor) -> bool:
    return bool(parameter.isfinite().all())
