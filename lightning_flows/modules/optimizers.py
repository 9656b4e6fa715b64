"""The optimizer of a module and its learning rate scheduler."""

from collections.abc import Callable, Iterable
from functools import partial
from typing import Any

import lightning.pytorch as L
import torch
from lightning.pytorch.plugins.precision import MixedPrecision
from torch.nn import Parameter
from torch.optim import Optimizer
from torch.optim.lr_scheduler import ReduceLROnPlateau

from lightning_flows.core.errors import CheckpointError

__all__ = ["check_optimizers", "configured", "default_optimizer"]


def default_optimizer(
    trainer: L.Trainer | None,
) -> Callable[[Iterable[Parameter]], torch.optim.Optimizer]:
    """Adam; fused, unless Lightning clips gradients under AMP, which it does for none that is."""
    fused = True
    if trainer is not None and isinstance(trainer.precision_plugin, MixedPrecision):
        fused = not trainer.gradient_clip_val
    return partial(torch.optim.Adam, lr=1e-3, fused=fused)


def configured(optimizer: Optimizer, scheduler: Callable[[Optimizer], Any] | None) -> Any:
    """What `configure_optimizers` gives Lightning: schedulers are stepped every epoch.

    Args:
        optimizer: the optimizer.
        scheduler: makes its learning rate scheduler, if there is one. One that waits for a plateau
            follows `val/loss` unless it names another figure.
    """
    if scheduler is None:
        return optimizer
    made = scheduler(optimizer)
    config: dict[str, Any] = {"scheduler": made, "interval": "epoch"}
    if isinstance(made, ReduceLROnPlateau):
        config["monitor"] = getattr(made, "monitor", "val/loss")
    return {"optimizer": optimizer, "lr_scheduler": config}


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
