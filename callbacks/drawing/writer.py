"""Where pictures go: PNG and NPZ files in the run's folder, and every logger that shows images."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from lightning.pytorch import Trainer
from lightning.pytorch.loggers import TensorBoardLogger
from torch import Tensor

from lightning_flows import plots

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["Drawing", "save", "write"]


@dataclass(frozen=True)
class Drawing:
    """What a callback has drawn.

    Args:
        figures: by name; the main one is called "".
        arrays: what the figures show, for the NPZ file; none is written where it is empty.
    """

    figures: Mapping[str, "Figure"]
    arrays: Mapping[str, Tensor] = field(default_factory=dict)


def write(
    trainer: Trainer, drawing: Drawing, folder: Path, name: str, stem: str, stage: str
) -> None:
    """Write a drawing; called on one rank only.

    Args:
        trainer: its loggers get the images, at the step of the last batch.
        drawing: figures and arrays.
        folder: the run's folder; files are `images/<name>/[<figure>/]<stem>.png` and `.npz`.
        name: name of the callback.
        stem: name of the files.
        stage: "val" or "test": images in the loggers are `<stage>/<name>[/<figure>]`, so that those
            of a test do not follow those of training as if they were its next step.
    """
    for suffix, figure in drawing.figures.items():
        place = "/".join(filter(None, (name, suffix)))
        save({folder / "images" / place / f"{stem}.png": figure})
        _log(trainer, f"{stage}/{place}", figure)
    if drawing.arrays:
        save({folder / "images" / name / f"{stem}.npz": drawing.arrays})


def save(files: Mapping[Path, "Figure | Mapping[str, Tensor]"]) -> None:
    """Write figures to PNG files and tensors to NPZ files, and make the folders above them."""
    for path, content in files.items():
        if isinstance(content, Mapping):
            arrays: dict[str, Any] = {key: _numpy(value) for key, value in content.items()}
            path.parent.mkdir(parents=True, exist_ok=True)
            np.savez_compressed(path, **arrays)
        else:
            plots.save_png(content, path)


def _log(trainer: Trainer, tag: str, figure: "Figure") -> None:
    # the step of the scalars beside it: a run that is resumed here logs all that is later anew
    step = max(0, trainer.global_step - 1)
    for logger in trainer.loggers:
        if isinstance(logger, TensorBoardLogger):
            picture = plots.pixels(figure)
            logger.experiment.add_image(tag, picture, step, dataformats="HWC")
        elif hasattr(logger, "log_image"):  # W&B, and foreign loggers that follow it
            logger.log_image(key=tag, images=[plots.pixels(figure)], step=step)


def _numpy(value: Tensor) -> "np.ndarray[tuple[int, ...], np.dtype[np.generic]]":
    return (value.float() if value.dtype == torch.bfloat16 else value).numpy()
