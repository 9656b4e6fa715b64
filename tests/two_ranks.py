"""Runs of the families in two processes and in one; a script, as `test_ddp.py` says."""

import sys
from functools import partial
from pathlib import Path

import lightning.pytorch as pl
import torch
from foreign import Witness, drawing, record_writers, trainer
from lightning.pytorch.callbacks import ModelCheckpoint

from lightning_flows import (
    ComposedFlow,
    DensityModule,
    FreeFormFlow,
    FreeFormModule,
    PaddedFlow,
    RankedFlow,
    RealNVP,
    RectangularModule,
    SurjectiveModule,
    TwoStepModule,
)
from lightning_flows.callbacks import ContributionRanking, PredictionWriter
from lightning_flows.datamodules import Arrays, Digits, Toy
from lightning_flows.nets import MLPDecoder, MLPEncoder
from lightning_flows.objectives import Isometry, OffDiagonal, TargetError, free_form, penalties
from lightning_flows.transforms import Augment

ACTNORM = partial(RealNVP, layers=2, hidden=(16,), actnorm=True)


def rectangular():
    """With a volume that is not computed at first, and data whose shares are uneven."""
    flow = partial(PaddedFlow, latent_features=3, ambient=ACTNORM, prior=ACTNORM)
    data = Digits(validation=101, test=97, batch_size=32)
    return RectangularModule(flow, data.event_shape, reconstruction=1.0, warmup=(1, 3)), data


def density():
    data = Toy("moons", n_train=333, n_val=101, n_test=97, batch_size=32, standardize=True)
    return DensityModule(ACTNORM, data.event_shape), data


def surjective():
    """A lower bound of rows that come again and again, of which validation shares are uneven."""
    x = (2 * torch.randn(454, 2, generator=torch.Generator().manual_seed(0))).round()
    splits = dict(zip(("train", "val", "test"), x.split([256, 101, 97]), strict=True))
    data = Arrays(data=splits, batch_size=32)
    flow = partial(ComposedFlow, layers=[partial(Augment, add=1), ACTNORM])
    return SurjectiveModule(flow, data.event_shape, iw_samples=7, chunk_size=3), data


def joint():
    """With a warm-up, a multiplier and penalties."""
    nets = {
        "encoder": partial(MLPEncoder, hidden=(8,)),
        "decoder": partial(MLPDecoder, hidden=(8,)),
    }
    prior = partial(RealNVP, layers=2, hidden=(8,))
    flow = partial(FreeFormFlow, latent_features=2, prior=prior, **nets)
    parts = [OffDiagonal(0.1), Isometry(0.1)]
    return FreeFormModule(flow, 3, reconstruction=TargetError(1.0), warmup=(1, 3), penalties=parts)


def two_step():
    small = partial(RealNVP, layers=2, hidden=(8,))
    flow = partial(PaddedFlow, latent_features=2, ambient=small, prior=small)
    return TwoStepModule(flow, 3, manifold_epochs=2)


def ranked():
    """Columns that are alike, so that noise alone decides which of them add most."""
    x = torch.randn(250, 32, generator=torch.Generator().manual_seed(0))
    data = Arrays(data=x, validation=0.2, test=0.0, standardize=False, batch_size=32)
    flow = partial(RankedFlow, levels=3, steps=2, hidden=(8,), actnorm=False)
    return DensityModule(flow, 32), data


class Steps(pl.Callback):
    """Every rank leaves what it saw at each step, and the model as it was after it."""

    def __init__(self, root):
        self.root, self.steps = root, []

    def on_train_batch_end(self, trainer, pl_module, outputs, batch, batch_idx):
        state = {key: value.clone() for key, value in pl_module.state_dict().items()}
        self.steps.append((trainer.current_epoch, batch["x"].clone(), state))

    def on_train_end(self, trainer, pl_module):
        self.root.mkdir(parents=True, exist_ok=True)
        torch.save(self.steps, self.root / f"steps{trainer.global_rank}.pt")


class Gradients(pl.Callback):
    """Every rank leaves the gradients of every step, as they are after the ranks have agreed."""

    def __init__(self, root):
        self.root, self.steps = root, []

    def on_after_backward(self, trainer, pl_module):
        gradients = [parameter.grad.flatten() for parameter in pl_module.parameters()]
        self.steps.append(torch.cat(gradients).clone())

    def on_train_end(self, trainer, pl_module):
        self.root.mkdir(parents=True, exist_ok=True)
        torch.save(torch.stack(self.steps), self.root / f"gradients{trainer.global_rank}.pt")


def probes_of(u, count):
    """In place of random probes: the same for a sample on whatever rank it is."""
    v = torch.stack([((13.0 + k) * u.detach() + k).sin() + 0.1 for k in range(count)])
    return v * (u.shape[1] ** 0.5 / v.norm(dim=2, keepdim=True))


def fit_in_step(root, family, devices):
    """The same batches for one process as for both ranks together."""
    data = Toy("torus", n_train=128, n_val=64, n_test=64, batch_size=32 // devices)
    free_form.probes_like = penalties.probes_like = probes_of
    callbacks = [Gradients(root), Witness(root)]
    run = make(0, root, devices, callbacks, max_epochs=4, precision="64-true")
    run.fit(family(), data)


class Metrics(pl.Callback):
    """Rank 0 leaves what was logged."""

    def on_test_end(self, trainer, pl_module):
        self.leave(trainer, "test")

    def on_validation_end(self, trainer, pl_module):
        self.leave(trainer, "validate")

    def leave(self, trainer, name):
        if trainer.is_global_zero and not trainer.sanity_checking:
            path = Path(trainer.default_root_dir) / f"{name}.pt"
            path.parent.mkdir(parents=True, exist_ok=True)
            torch.save(dict(trainer.callback_metrics), path)


def make(seed, root, devices, callbacks, **options):
    pl.seed_everything(seed, verbose=False)
    strategy = "ddp_fork" if devices > 1 else "auto"
    return trainer(root, devices=devices, strategy=strategy, callbacks=callbacks, **options)


def fit(root, family):
    model, data = family()
    callbacks = [*drawing(), Witness(root), ModelCheckpoint(root, save_last=True)]
    options = {"enable_checkpointing": True, "max_epochs": 3, "limit_train_batches": 4}
    make(2, root, 2, callbacks, **options).fit(model, data)


def evaluate(root, checkpoint, family, devices):
    for action, callbacks in (
        ("test", [*drawing(), Metrics()]),
        ("validate", [*drawing(), Metrics()]),
        ("predict", [PredictionWriter()]),
    ):
        model, data = family()
        options = {} if action == "predict" else {"verbose": False}
        run = getattr(make(devices, root, devices, callbacks), action)
        run(model, data, ckpt_path=checkpoint, **options)


def fit_ranked(root):
    model, data = ranked()
    callbacks = [ContributionRanking(epochs=1), Steps(root)]
    make(0, root, 2, callbacks, max_epochs=3).fit(model, data)


def main(root):
    record_writers()
    families = {"rectangular": rectangular, "density": density, "surjective": surjective}
    for name, family in families.items():
        fit(root / name, family)
    fit_ranked(root / "ranked")
    for devices in (2, 1):  # forking comes before anything else that may start threads
        for name, family in {"joint": joint, "two_step": two_step}.items():
            fit_in_step(root / f"{name}{devices}", family, devices)
        for name, family in families.items():
            evaluate(root / f"{name}{devices}", root / name / "last.ckpt", family, devices)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
