"""Checkpoints that cannot be read, said in one sentence."""

from pathlib import Path

import torch

from lightning_flows.errors import CheckpointError

__all__ = ["check_checkpoint"]


def check_checkpoint(path: str | Path, *, weights_only: bool | None = None) -> None:
    """Refuse a checkpoint that cannot be read.

    Args:
        path: file of the checkpoint; remote ones are left to Lightning.
        weights_only: as for `torch.load`.

    Raises:
        CheckpointError: no such file, a damaged one, or no checkpoint of a LightningModule.
    """
    if "://" in str(path):
        return
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
