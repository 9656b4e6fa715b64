"""Training a module on a data module as the command line does, by a Trainer, for some steps."""

import logging
import math
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import lightning.pytorch as L
import torch
from lightning.pytorch.callbacks import ModelCheckpoint
from torch import nn
from torch.optim import Adam
from torch.optim.lr_scheduler import CosineAnnealingLR

from lightning_flows.datamodules.base import FlowDataModule
from lightning_flows.modules import FlowModule

__all__ = ["CLIP", "Budget", "fit", "sound"]

CLIP = 100.0  # largest norm of a gradient


@dataclass(frozen=True)
class Budget:
    """How long is trained.

    Args:
        epochs: at the end of each the learning rate changes, and validation data may be looked at.
        batches: of an epoch.
    """

    epochs: int
    batches: int

    @classmethod
    def of(cls, data: FlowDataModule, steps: int, epochs: int = 25) -> "Budget":
        """At least this many epochs, and more where the training data is used up earlier."""
        data.setup()
        whole = len(data.train_dataloader())
        batches = max(1, min(whole, steps // epochs))
        return cls(math.ceil(steps / batches), batches)

    def recipe(self, rate: float) -> dict[str, Any]:
        """Optimizer and scheduler of a module: Adam, whose rate falls to zero along a cosine."""
        return {
            "optimizer": partial(Adam, lr=rate, fused=True),
            "scheduler": partial(CosineAnnealingLR, T_max=self.epochs),
        }

    def warmup(self, share: float) -> tuple[int, int]:
        """Epochs of an injective module's warm-up: a step after this share of the training."""
        epoch = math.ceil(share * self.epochs)
        return epoch, epoch


def fit(
    module: FlowModule,
    data: FlowDataModule,
    budget: Budget,
    *,
    best: bool = False,
    callbacks: Sequence[L.Callback] = (),
) -> bool:
    """Train on one thread of the CPU, without logs.

    Args:
        module: what is trained; it is in evaluation mode in the end.
        data: what it is trained on.
        budget: how long.
        best: whether the module ends as it was at the epoch that did best on validation data,
            by `val/loss`.
        callbacks: of the trainer.

    Returns:
        Whether all parameters are finite.
    """
    logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)
    with TemporaryDirectory() as folder, warnings.catch_warnings():
        warnings.filterwarnings("ignore", ".*(does not have many workers|number of training b).*")
        keeper = ModelCheckpoint(folder, monitor="val/loss", save_weights_only=True)
        trainer = L.Trainer(
            accelerator="cpu",
            max_epochs=budget.epochs,
            limit_train_batches=budget.batches,
            limit_val_batches=None if best else 0,
            num_sanity_val_steps=0,
            gradient_clip_val=CLIP,
            logger=False,
            enable_checkpointing=best,
            callbacks=[*callbacks, *([keeper] if best else [])],
            enable_progress_bar=False,
            enable_model_summary=False,
        )
        trainer.fit(module, datamodule=data)
        path = Path(keeper.best_model_path)
        if best and path.is_file():
            module.load_state_dict(torch.load(path, weights_only=True)["state_dict"])
    module.eval()
    return sound(module)


def sound(module: nn.Module) -> bool:
    """Whether all parameters are finite."""
    return all(bool(parameter.isfinite().all()) for parameter in module.parameters())
