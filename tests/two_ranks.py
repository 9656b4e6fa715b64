"""Runs of both families in two processes and in one; a script, as `test_ddp.py` says."""

import sys
from functools import partial
from pathlib import Path

import lightning.pytorch as pl
import torch
from lightning.pytorch.callbacks import ModelCheckpoint
from lightning_flows.callbacks import PredictionWriter
from lightning_flows.datamodules import Digits, Toy

from lightning_flows import DensityFlow, PaddedFlow, RealNVP, RectangularFlow

sys.path.insert(0, str(Path(__file__).parent / "callbacks"))
from foreign import Witness, drawing, record_writers, trainer

ACTNORM = partial(RealNVP, layers=2, hidden=(16,), actnorm=True)


def rectangular():
    """With a volume that is not computed at first, and data whose shares are uneven."""
    flow = partial(PaddedFlow, latent_features=3, ambient=ACTNORM, prior=ACTNORM)
    data = Digits(validation=101, test=97, batch_size=32)
    return RectangularFlow(flow, data.event_shape, beta=1.0, warmup=(1, 3)), data


def density():
    data = Toy("moons", n_train=333, n_val=101, n_test=97, batch_size=32, standardise=True)
    return DensityFlow(ACTNORM, data.event_shape), data


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


def make(root, devices, callbacks, **options):
    pl.seed_everything(devices, verbose=False)
    strategy = "ddp_fork" if devices > 1 else "auto"
    return trainer(root, devices=devices, strategy=strategy, callbacks=callbacks, **options)


def fit(root, family):
    model, data = family()
    callbacks = [*drawing(), Witness(root), ModelCheckpoint(root, save_last=True)]
    options = {"enable_checkpointing": True, "max_epochs": 3, "limit_train_batches": 4}
    make(root, 2, callbacks, **options).fit(model, data)


def evaluate(root, checkpoint, family, devices):
    for action, callbacks in (
        ("test", [*drawing(), Metrics()]),
        ("validate", [*drawing(), Metrics()]),
        ("predict", [PredictionWriter()]),
    ):
        model, data = family()
        options = {} if action == "predict" else {"verbose": False}
        run = getattr(make(root, devices, callbacks), action)
        run(model, data, ckpt_path=checkpoint, **options)


def main(root):
    record_writers()
    families = {"rectangular": rectangular, "density": density}
    for name, family in families.items():
        fit(root / name, family)
    for devices in (2, 1):  # forking comes before anything else that may start threads
        for name, family in families.items():
            evaluate(root / f"{name}{devices}", root / name / "last.ckpt", family, devices)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
