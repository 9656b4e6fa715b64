"""Runs of a module, whole and resumed in the middle of an epoch."""

import shutil
from pathlib import Path

import lightning.pytorch as pl
import torch
from lightning.pytorch.loggers.logger import DummyLogger

from lightning_flows.callbacks import LastCheckpoint
from proofs.common import same
from proofs.module_case import made, trainer


class Series(DummyLogger):
    """Keeps what is logged."""

    def __init__(self):
        super().__init__()
        self.logged = []

    def log_metrics(self, metrics, step=None):
        self.logged += [(step, name, float(value)) for name, value in metrics.items()]


class Keep(pl.Callback):
    """Copies the newest checkpoint of some steps, before the step that follows."""

    def on_train_batch_start(self, trainer, pl_module, batch, batch_idx):
        folder = Path(trainer.default_root_dir)
        if trainer.is_global_zero and trainer.global_step in (2, 9):
            last = folder / "checkpoints" / "last.ckpt"
            shutil.copy(last, folder / f"{trainer.global_step}.ckpt")


class Leave(pl.Callback):
    """Every rank leaves its weights, its optimizer and what was logged."""

    def on_train_end(self, trainer, pl_module):
        (logger,) = trainer.loggers
        found = {
            "weights": pl_module.state_dict(),
            "optimizer": trainer.optimizers[0].state_dict()["state"],
            "logged": logger.logged,
        }
        torch.save(found, Path(trainer.default_root_dir) / f"rank{trainer.global_rank}.pt")


def run(folder, case, devices, ckpt_path=None):
    """Train for two epochs and a half; a resumed run starts from another seed."""
    folder.mkdir(parents=True, exist_ok=True)
    model, data = made(case)
    pl.seed_everything(0 if ckpt_path is None else 17, verbose=False)
    callbacks = [*case.callbacks(), *([Keep()] if ckpt_path is None else [])]
    whole = trainer(
        max_epochs=None,
        max_steps=5 * (10 // devices) // 2,
        limit_train_batches=10 // devices,
        limit_val_batches=2,
        num_sanity_val_steps=0,
        devices=devices,
        strategy="ddp_fork" if devices > 1 else "auto",
        default_root_dir=folder,
        logger=Series(),
        enable_checkpointing=True,
        callbacks=[*callbacks, LastCheckpoint(minutes=0), Leave()],
    )
    whole.fit(model, data, ckpt_path=ckpt_path)


def resume(root, case, devices):
    """A whole run, and one that is resumed in the middle of an epoch and does the rest."""
    step = 2 if devices > 1 else 9
    run(root / "whole", case, devices)
    run(root / "resumed", case, devices, root / "whole" / f"{step}.ckpt")


def check_resumed(root, devices):
    """Weights, optimizer, and all that was logged from the step on; rank 0 logs."""
    for rank in range(devices):
        whole, resumed = (torch.load(root / run / f"rank{rank}.pt") for run in ("whole", "resumed"))
        for part in ("weights", "optimizer"):
            same(resumed[part], whole[part])
        step = 2 if devices > 1 else 9
        left = [entry for entry in whole["logged"] if entry[0] >= step]
        assert left == resumed["logged"]
        if rank == 0:
            assert {name for _, name, _ in left} >= {"train/loss", "val/loss"}
