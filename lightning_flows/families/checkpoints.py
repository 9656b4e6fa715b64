"""Checkpoints: the family that one holds, and those that cannot be read."""

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import torch
from torch.optim import Optimizer

from lightning_flows.errors import CheckpointError
from lightning_flows.recipe import build_factory

__all__ = ["check_checkpoint", "check_optimizers", "load"]


def load(path: str | Path, **options: Any) -> Any:
    """Make the family again that a checkpoint holds, whatever its class, in evaluation mode.

    Args:
        path: file of the checkpoint.
        options: arguments of `load_from_checkpoint`, such as `map_location` (the CPU unless given),
            and of the constructor, in place of those of the checkpoint.

    Returns:
        The LightningModule, whose `log_prob`, `sample`, `encode` and `decode` speak of data in its
        original units.

    Raises:
        CheckpointError: the file is missing, damaged, or names no family.
    """
    recipe = (check_checkpoint(path, weights_only=True) or {}).get("family")
    if recipe is None:
        raise CheckpointError(
            f"The checkpoint {path} does not name its family; use load_from_checkpoint of the "
            "class that was trained."
        )
    family: Any = build_factory(recipe)
    options = {"map_location": "cpu", "weights_only": True, **options}
    return family.load_from_checkpoint(path, **options).eval()


def check_checkpoint(path: str | Path, *, weights_only: bool | None = None) -> Any:
    """Read a checkpoint, and refuse one that cannot be read.

    Args:
        path: file of the checkpoint; remote ones are left to Lightning.
        weights_only: as for `torch.load`.

    Returns:
        Its content; None for remote ones.

    Raises:
        CheckpointError: no such file, a damaged one, or no checkpoint of a LightningModule.
    """
    if "://" in str(path):
        return None
    if not Path(path).is_file():
        raise CheckpointError(f"The checkpoint {path} does not exist.")
    try:
        content = torch.load(path, map_location="cpu", weights_only=weights_only)
    except Exception as error:  # torch raises half a dozen kinds for half a file
        reason = str(error).partition("\n")[0] or type(error).__name__
        raise CheckpointError(
            f"The checkpoint {path} is damaged or no checkpoint: {reason}"
        ) from error
    if not isinstance(content, dict) or "state_dict" not in content:
        raise CheckpointError(f"{path} holds no checkpoint of a LightningModule.")
    return content


def check_optimizers(optimizers: Iterable[Optimizer]) -> None:
    """Refuse optimizers whose state was restored from one of another class.

    Raises:
        CheckpointError: an option of the optimizer is not among those that were restored.
    """
    for optimizer in optimizers:
        missing = [key for key in optimizer.defaults if key not in optimizer.param_groups[0]]
        if missing:
            raise CheckpointError(
                f"The checkpoint holds the state of another optimizer than "
                f"{type(optimizer).__name__}, without {', '.join(missing)}; resume with the "
                "optimizer of the run, or train anew."
            )
