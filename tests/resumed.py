"""Runs of every family, whole and resumed in the middle; a script too, for two ranks."""

import shutil
import sys
from functools import partial
from pathlib import Path

import lightning.pytorch as pl
import torch
from lightning.pytorch.loggers.logger import DummyLogger

from lightning_flows import (
    ComposedFlow,
    DensityModule,
    FreeFormFlow,
    FreeFormModule,
    PaddedFlow,
    RankedFlow,
    RealNVP,
    RectangularModule,
    StochasticVolume,
    SurjectiveModule,
    TwoStepModule,
)
from lightning_flows.callbacks import ContributionRanking, LastCheckpoint
from lightning_flows.datamodules import Arrays, Digits, Toy
from lightning_flows.nets import MLPDecoder, MLPEncoder
from lightning_flows.objectives import OffDiagonal, TargetError, Tikhonov
from lightning_flows.transforms import Augment

ACTNORM = partial(RealNVP, layers=2, hidden=(8,), actnorm=True)
SMALL = partial(RealNVP, layers=2, hidden=(8,))


def toy(name="moons"):
    """Rows that two ranks cannot share evenly, and a last batch that is short."""
    return Toy(name, n_train=155, n_val=31, n_test=31, batch_size=16, standardize=True)


def density():
    """Dequantized images, with noise and a penalty of random probes."""
    data = Digits(validation=31, test=31, batch_size=16)
    return DensityModule(ACTNORM, data.event_shape, noise=0.1, penalties=[Tikhonov(0.01)]), data


def surjective():
    flow = partial(ComposedFlow, layers=[partial(Augment, add=1), ACTNORM])
    return SurjectiveModule(flow, (2,), iw_samples=2), toy()


def rectangular():
    flow = partial(PaddedFlow, latent_features=2, ambient=ACTNORM, prior=ACTNORM)
    options = {"volume": StochasticVolume(), "reconstruction": TargetError(0.1), "warmup": (0, 2)}
    penalties = [Tikhonov(0.01)]
    model = RectangularModule(flow, (3,), penalties=penalties, noise=0.01, **options)
    return model, toy("torus")


def free_form():
    nets = {
        "encoder": partial(MLPEncoder, hidden=(8,)),
        "decoder": partial(MLPDecoder, hidden=(8,)),
    }
    flow = partial(FreeFormFlow, latent_features=2, prior=SMALL, **nets)
    return FreeFormModule(flow, (3,), penalties=[OffDiagonal(0.1)]), toy("torus")


def two_step():
    flow = partial(PaddedFlow, latent_features=2, ambient=SMALL, prior=SMALL)
    return TwoStepModule(flow, (3,), manifold_epochs=1, noise=0.01), toy("torus")


def ranked():
    x = torch.randn(193, 16, generator=torch.Generator().manual_seed(0))
    data = Arrays(data=x, validation=0.2, test=0.0, standardize=False, batch_size=16)
    return DensityModule(partial(RankedFlow, levels=2, steps=1, hidden=(8,)), 16), data


FAMILIES = {
    "density": density,
    "surjective": surjective,
    "rectangular": rectangular,
    "free_form": free_form,
    "two_step": two_step,
    "ranked": ranked,
}


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


def run(folder, name, devices, ckpt_path=None):
    """Train for two epochs and a half; a resumed run starts from another seed."""
    folder.mkdir(parents=True, exist_ok=True)
    pl.seed_everything(0 if ckpt_path is None else 17, verbose=False)
    model, data = FAMILIES[name]()
    callbacks = [ContributionRanking(epochs=1)] if name == "ranked" else []
    callbacks += [*([Keep()] if ckpt_path is None else []), LastCheckpoint(minutes=0)]
    trainer = pl.Trainer(
        max_steps=5 * (10 // devices) // 2,
        log_every_n_steps=1,
        limit_train_batches=10 // devices,
        limit_val_batches=2,
        num_sanity_val_steps=0,
        accelerator="cpu",
        devices=devices,
        strategy="ddp_fork" if devices > 1 else "auto",
        default_root_dir=folder,
        logger=Series(),
        callbacks=[*callbacks, Leave()],
        enable_progress_bar=False,
        enable_model_summary=False,
    )
    trainer.fit(model, data, ckpt_path=ckpt_path)


def compare(root, name, devices):
    """A whole run, and one that is resumed in the middle of an epoch and does the rest."""
    step = 2 if devices > 1 else 9
    run(root / name / "whole", name, devices)
    run(root / name / "resumed", name, devices, root / name / "whole" / f"{step}.ckpt")


if __name__ == "__main__":
    for family in FAMILIES:
        compare(Path(sys.argv[1]), family, 2)
