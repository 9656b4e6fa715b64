"""Folders of runs: which one a run writes to, where a checkpoint lies, what a run has left."""

import os
import warnings
from collections.abc import Iterable
from itertools import count
from pathlib import Path, PurePath
from typing import Any

from jsonargparse import Namespace
from lightning.pytorch import Trainer

from lightning_flows.callbacks import LastCheckpoint
from lightning_flows.cli.defaults import RUNS, name_of_run
from lightning_flows.core.errors import CheckpointError, ConfigError
from lightning_flows.modules.checkpoints import check_checkpoint

__all__ = [
    "LAST",
    "choose_folder",
    "config_beside",
    "left_by",
    "newest_checkpoint",
    "next_run",
    "run_of",
]

LAST = "last.ckpt"
"""Name of the newest checkpoint of a run."""


def choose_folder(config: Namespace, *, fits: bool) -> bool:
    """Set the folder that a run writes to: that of its checkpoint, or one of its own.

    Args:
        config: of a subcommand; the options of its Trainer and its `ckpt_path` are changed.
        fits: whether the subcommand trains.

    Returns:
        Whether the run goes on in the folder of a checkpoint.

    Raises:
        CheckpointError: there is no checkpoint to go on with, or it cannot be read.
        ConfigError: the name of the checkpoints leads out of their folder.
    """
    filename = PurePath(config.checkpoint.get("filename") or "")
    if filename.is_absolute() or ".." in filename.parts:
        raise ConfigError(
            f"checkpoint.filename is {str(filename)!r}; accepted are names within the folder of "
            "the checkpoints, which checkpoint.dirpath changes."
        )
    trainer, root = config.trainer, config.trainer.get("default_root_dir")
    for logger in _loggers(trainer):
        options = logger.init_args
        if root is not None and options.get("save_dir") == RUNS:
            options.save_dir = os.path.join(root, RUNS)
        if _is_local(logger) and options.get("name") is None:
            options.name = name_of_run(config)
    path = config.get("ckpt_path")
    if path == "last":
        path = config.ckpt_path = str(newest_checkpoint(_home(trainer)))
    content = check_checkpoint(path) if path and path not in ("best", "hpc") else None
    if content is not None and config_beside(path):
        _go_on_in(run_of(path), trainer, content["global_step"] if fits else None)
        return True
    if trainer.get("logger") is False:
        trainer.default_root_dir = str(next_run(os.path.join(root or "", RUNS)))
    return False


def left_by(trainer: Trainer) -> dict[str, Path]:
    """Where a run has left what, by a word for it: what exists, as short as paths can be."""
    logger = trainer.logger
    own = getattr(logger, "log_dir", None) or getattr(logger, "save_dir", None)
    folder = Path(own or trainer.default_root_dir)
    best = getattr(trainer.checkpoint_callback, "best_model_path", "")
    saved = [c.path for c in trainer.checkpoint_callbacks if isinstance(c, LastCheckpoint)]
    # where ranks were forked, their callback knew the path
    last = next(iter(saved), None) or Path(folder, "checkpoints", LAST)
    found: dict[str, Any] = {
        "run": folder,
        "best checkpoint": best and Path(best),
        "last checkpoint": last,
        "pictures": folder / "images",
    }
    return {name: _shown(path) for name, path in found.items() if path and path.exists()}


def run_of(checkpoint: str | Path) -> Path:
    """Folder of the run that wrote a checkpoint: the one above a folder named `checkpoints`."""
    folder = Path(checkpoint).resolve().parent
    return folder.parent if folder.name == "checkpoints" else folder


def config_beside(checkpoint: str | Path) -> Path | None:
    """The config.yaml of the run that wrote a checkpoint; None where there is none."""
    for folder in (Path(checkpoint).parent, run_of(checkpoint)):
        if (folder / "config.yaml").is_file():
            return folder / "config.yaml"
    return None


def newest_checkpoint(folder: str | Path) -> Path:
    """The newest `last.ckpt` below a folder, or the one before it where that is damaged.

    Damaged files are named in a warning. The one before is the newest other checkpoint in the same
    folder that can be read.

    Args:
        folder: where to look, at any depth.

    Raises:
        CheckpointError: there is none, or none that can be read.
    """
    candidates = _newest_first(Path(folder).rglob(LAST))
    if not candidates:
        raise CheckpointError(
            f"ckpt_path is 'last', and there is no {LAST} below {folder}; leave it out to start a "
            "run, or name a file."
        )
    last = candidates[0]
    others = [path for path in last.parent.glob("*.ckpt") if path != last]
    for path in (last, *_newest_first(others)):
        try:
            check_checkpoint(path)
        except CheckpointError as error:
            warnings.warn(f"{error} The one before it is used.", stacklevel=2)
        else:
            return path
    raise CheckpointError(f"No checkpoint in {last.parent} can be read.")


def next_run(folder: str | Path) -> Path:
    """The first of `folder/run_0`, `folder/run_1` and so on that does not exist."""
    return next(path for i in count() if not (path := Path(folder, f"run_{i}")).exists())


def _newest_first(paths: Iterable[Path]) -> list[Path]:
    return sorted(paths, key=lambda path: path.stat().st_mtime_ns, reverse=True)


def _loggers(trainer: Namespace) -> list[Namespace]:
    """The loggers that a config describes by their class and options."""
    loggers = trainer.get("logger")
    listed = loggers if isinstance(loggers, list) else [loggers]
    return [each for each in listed if isinstance(each, Namespace) and each.get("init_args")]


def _is_local(logger: Namespace) -> bool:
    """Whether a logger writes to `save_dir/name`; others mean another thing by a name."""
    return str(logger.class_path).endswith((".TensorBoardLogger", ".CSVLogger"))


def _home(trainer: Namespace) -> str:
    """The folder in which runs of a config lie beside each other."""
    loggers = _loggers(trainer)
    if not loggers:
        return os.path.join(trainer.get("default_root_dir") or "", RUNS)
    options = loggers[0].init_args
    return os.path.join(options.get("save_dir") or "", options.get("name") or "")


def _go_on_in(run: Path, trainer: Namespace, step: int | None) -> None:
    """Let what is logged and drawn follow in the folder of a run, from a step on."""
    logger = trainer.get("logger")
    options = logger.get("init_args") if isinstance(logger, Namespace) else None
    if options is None:
        trainer.default_root_dir = str(run)
    elif options.get("version") is None and logger.class_path.endswith("TensorBoardLogger"):
        options.save_dir, options.name = str(run.parent.parent), run.parent.name
        options.version, options.purge_step = run.name, step
        warnings.filterwarnings("ignore", "Checkpoint directory .* exists and is not empty")


def _shown(path: Path) -> Path:
    """A path as short as it can be."""
    return path.relative_to(Path.cwd()) if path.is_relative_to(Path.cwd()) else path
