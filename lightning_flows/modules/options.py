"""Options of a family: how they are logged, and the optimizer where none is given."""

from collections.abc import Callable, Iterable, Mapping
from functools import partial
from typing import Any

import lightning.pytorch as L
import torch
from lightning.pytorch.plugins.precision import MixedPrecision
from torch import Tensor

__all__ = ["default_optimizer", "logged_options"]


def default_optimizer(
    trainer: L.Trainer | None,
) -> Callable[[Iterable[Tensor]], torch.optim.Optimizer]:
    """Adam; fused, unless Lightning clips gradients under AMP, which it does for none that is."""
    fused = True
    if trainer is not None and isinstance(trainer.precision_plugin, MixedPrecision):
        fused = not trainer.gradient_clip_val
    return partial(torch.optim.Adam, lr=1e-3, fused=fused)


def logged_options(options: Mapping[str, Any], data: Any) -> dict[str, Any]:
    """Options by name; `model/<name>` where the data module logs one of the same name."""
    taken = data.hparams if getattr(data, "_log_hyperparams", False) else {}
    hidden = "_class_path"  # of the command line, for Lightning alone
    shown = {name: value for name, value in options.items() if name != hidden}
    return {f"model/{name}" if name in taken else name: value for name, value in shown.items()}
