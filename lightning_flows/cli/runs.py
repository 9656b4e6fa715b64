"""Folders of runs: where a checkpoint lies, the config beside it, and the newest of them."""

import warnings
from collections.abc import Iterable
from itertools import count
from pathlib import Path

from lightning_flows.core.errors import CheckpointError
from lightning_flows.modules.checkpoints import check_checkpoint

__all__ = ["LAST", "config_beside", "newest_checkpoint", "next_run", "run_of"]

LAST = "last.ckpt"
"""Name of the newest checkpoint of a run."""


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
