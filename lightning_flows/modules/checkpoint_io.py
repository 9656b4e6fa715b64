"""Checkpoints on disk: written whole or not at all, and read without running code."""

import errno
import os
from contextlib import suppress
from pathlib import Path
from typing import Any

import torch

from lightning_flows.core.errors import CheckpointError
from lightning_flows.modules.checkpoints import PlainDataIO

__all__ = ["AtomicCheckpointIO"]

TEMPORARY = ".tmp"


class AtomicCheckpointIO(PlainDataIO):
    """Replaces a checkpoint in one step, so that what has its name can always be read.

    The file is written beside its target, brought to the disk (`fsync`), and renamed over it.
    Lightning's own writer goes through TMPDIR; where that is another file system, it copies over
    the target, and a process that is killed meanwhile leaves half a file. A temporary that a killed
    process left is removed by the next write to that folder.

    Reading is `torch.load(weights_only=True)`, for local and remote files: no file runs code.

    Pass it as `Trainer(plugins=[AtomicCheckpointIO()])`; the command line does.
    """

    def save_checkpoint(
        self, checkpoint: dict[str, Any], path: str | Path, storage_options: Any | None = None
    ) -> None:
        """Write a checkpoint.

        Args:
            checkpoint: what to write.
            path: the target; remote ones are left to Lightning.
            storage_options: as for Lightning, which accepts None only.

        Raises:
            CheckpointError: it cannot be written; files that were there are as they were.
        """
        if "://" in str(path) or storage_options is not None:
            super().save_checkpoint(checkpoint, path, storage_options)
            return
        target = Path(path)
        temporary = target.parent / f".{target.name}{TEMPORARY}"
        try:
            target.parent.mkdir(parents=True, exist_ok=True)
            _remove_temporaries(target.parent)
            with temporary.open("wb") as file:
                torch.save(checkpoint, file)
                file.flush()
                os.fsync(file.fileno())
            os.replace(temporary, target)
            _sync_folder(target.parent)
        except (OSError, RuntimeError) as error:  # torch's writer wraps a full disk in the latter
            with suppress(OSError):
                temporary.unlink(missing_ok=True)
            raise CheckpointError(_reason(error, target)) from error


def _remove_temporaries(folder: Path) -> None:
    """Remove what a killed process left; one process writes to a folder at a time."""
    for leftover in folder.glob(f".*.ckpt{TEMPORARY}"):
        leftover.unlink(missing_ok=True)


def _sync_folder(folder: Path) -> None:
    """Bring the new name itself to the disk, where the system knows how."""
    with suppress(OSError):
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def _reason(error: Exception, target: Path) -> str:
    cause: BaseException | None = error
    while cause is not None and not isinstance(cause, OSError):
        cause = cause.__cause__ or cause.__context__
    number = cause.errno if isinstance(cause, OSError) else None
    if number in (errno.ENOSPC, errno.EDQUOT) or "unexpected pos" in str(error):
        what = "the disk is full"
    else:
        what = cause.strerror if isinstance(cause, OSError) and cause.strerror else str(error)
        what = what.partition("\n")[0]
    return (
        f"The checkpoint {target.name} could not be written to {target.parent}: {what}. "
        "Files that were there are as they were."
    )
