"""Every family runs under every legal setting of the Trainer."""

import warnings
from functools import partial

import numpy as np
import pytest
import torch
from lightning.pytorch import cli
from lightning.pytorch.callbacks import EarlyStopping, ModelCheckpoint
from lightning.pytorch.loggers import CSVLogger
from torch.optim.lr_scheduler import ReduceLROnPlateau, StepLR
from torch.utils.data import DataLoader

from lightning_flows import (
    ComposedFlow,
    DensityModule,
    FreeFormFlow,
    FreeFormModule,
    Isometry,
    PaddedFlow,
    RealNVP,
    RectangularModule,
    SurjectiveModule,
    TwoStepModule,
)
from lightning_flows.callbacks import NonFiniteGuard, PredictionWriter, SampleGrid
from lightning_flows.nets import MLPDecoder, MLPEncoder
from lightning_flows.objectives import TargetError, Tikhonov
from lightning_flows.transforms import Augment

pytestmark = pytest.mark.filterwarnings(
    "ignore:.*(val_dataloader|Total length of|exists and is not empty|sanity check|overfit)",
    "ignore:.*(barebones|log_every_n_steps|lr_scheduler.step|ended|many workers|train_batches)",
)
SMALL = partial(RealNVP, layers=1, hidden=(4,))
PADDED = partial(PaddedFlow, latent_features=1, ambient=SMALL, prior=SMALL)
FREE = partial(
    FreeFormFlow,
    latent_features=1,
    encoder=partial(MLPEncoder, hidden=(4,)),
    decoder=partial(MLPDecoder, hidden=(4,)),
    prior=SMALL,
)
AUGMENTED = partial(ComposedFlow, layers=[partial(Augment, add=1), SMALL])
FAMILIES = {
    "density": partial(DensityModule, SMALL, 2, penalties=[Tikhonov(0.1)]),
    "surjective": partial(SurjectiveModule, AUGMENTED, 2, iw_samples=2),
    "rectangular": partial(
        RectangularModule, PADDED, 2, reconstruction=TargetError(0.1), warmup=(1, 1)
    ),
    "free form": partial(FreeFormModule, FREE, 2, penalties=[Isometry(0.1)]),
    "two step": partial(TwoStepModule, PADDED, 2, manifold_epochs=1),
}
SETTINGS = {
    "log never": {"log_every_n_steps": 0},
    "log seldom": {"log_every_n_steps": 1000},
    "no training": {"limit_train_batches": 0},
    "part of training": {"limit_train_batches": 0.5, "limit_val_batches": 0.5},
    "no validation": {"limit_val_batches": 0},
    "one batch": {"limit_train_batches": 1, "limit_val_batches": 1, "limit_test_batches": 1},
    "no test": {"limit_test_batches": 0},
    "accumulation": {"accumulate_grad_batches": 3},
    "whole sanity check": {"num_sanity_val_steps": -1},
    "no sanity check": {"num_sanity_val_steps": 0},
    "validation by batches": {"check_val_every_n_epoch": None, "val_check_interval": 3},
    "validation in the epoch": {"val_check_interval": 0.5},
    "validation now and then": {"check_val_every_n_epoch": 2},
    "overfit": {"overfit_batches": 1},
    "gradients": {"inference_mode": False, "detect_anomaly": True},
    "barebones": {"barebones": True},
    "fast": {"fast_dev_run": 2},
    "deterministic": {"deterministic": True, "gradient_clip_val": 0.5},
    "steps": {"max_epochs": -1, "max_steps": 3},
}


def loader(n=32, seed=0):
    x = torch.randn(n, 2, generator=torch.Generator().manual_seed(seed))
    return DataLoader(x, batch_size=8)


FEW = ("log never", "no validation", "accumulation")


@pytest.mark.parametrize(
    ("family", "setting"),
    [
        pytest.param(f, s, marks=[pytest.mark.slow] * (f != "rectangular" and s != "log never"))
        for f in FAMILIES
        for s in SETTINGS
        if f in ("density", "rectangular") or s in FEW
    ],
)
def test_families_run_under_every_setting(family, setting, make_trainer, tmp_path):
    options = {"max_epochs": 2, **SETTINGS[setting]}
    watched = [NonFiniteGuard()]
    if setting in ("no validation", "validation by batches"):
        watched.append(SampleGrid(4, every_n_epochs=0))
    if setting == "barebones":
        options |= dict.fromkeys(("enable_checkpointing", "enable_progress_bar"))
        options |= {"enable_model_summary": None, "log_every_n_steps": None, "logger": None}
        options["num_sanity_val_steps"] = None
        watched = []
    elif "log" in setting:
        options["logger"] = CSVLogger(tmp_path)
    model, trainer = FAMILIES[family](), make_trainer(callbacks=watched, **options)
    trainer.fit(model, loader(), loader(seed=1))
    for name, value in trainer.callback_metrics.items():
        assert value.isfinite(), name
    if setting not in ("no validation", "no training", "barebones", "steps"):
        assert "val/loss" in trainer.callback_metrics
    if setting == "log never":
        text = "".join(path.read_text() for path in tmp_path.rglob("*.csv"))
        assert "val/loss" in text
        assert "train/loss" not in text
    assert all(parameter.isfinite().all() for parameter in model.parameters())
    tested = trainer.test(model, loader(seed=2), verbose=False)
    if setting not in ("no test", "barebones"):
        assert "test/loss" in tested[0]


@pytest.mark.parametrize("family", ["surjective", "rectangular"])
def test_the_first_of_several_loaders_has_the_plain_names(family, make_trainer, tmp_path):
    watch = EarlyStopping("val/loss", patience=5), ModelCheckpoint(tmp_path, monitor="val/loss")
    model = FAMILIES[family](
        optimizer=partial(torch.optim.SGD, lr=0.0), scheduler=partial(ReduceLROnPlateau, patience=9)
    )
    trainer = make_trainer(callbacks=[*watch], enable_checkpointing=True)
    several = [loader(seed=1), loader(16, seed=2)]
    trainer.fit(model, loader(), several)
    found = {name: float(value) for name, value in trainer.callback_metrics.items()}
    assert watch[1].best_model_score == found["val/loss"]
    tested = trainer.test(model, several, verbose=False)
    assert "test/loss" in tested[0]
    assert "test/loss/dataloader_idx_1" in tested[1]
    figure = "elbo" if family == "surjective" else "nll"
    for index, each in enumerate(several):
        suffix = "/dataloader_idx_1" * index
        alone = make_trainer().validate(model, each, verbose=False)[0]
        assert found[f"val/{figure}{suffix}"] == pytest.approx(alone[f"val/{figure}"], rel=1e-5)
    assert found["val/loss"] != found["val/loss/dataloader_idx_1"]


@pytest.mark.parametrize(
    ("scheduler", "monitored"),
    [
        (ReduceLROnPlateau, {"monitor": "val/loss"}),
        (partial(cli.ReduceLROnPlateau, monitor="val/nll"), {"monitor": "val/nll"}),
        (partial(StepLR, step_size=2), {}),
    ],
)
def test_a_scheduler_follows_the_figure_that_it_names(scheduler, monitored):
    found = FAMILIES["density"](scheduler=scheduler).configure_optimizers()["lr_scheduler"]
    assert found == {"scheduler": found["scheduler"], "interval": "epoch", **monitored}


def test_predictions_of_several_loaders_are_several_files(make_trainer, tmp_path):
    writer, model = PredictionWriter(), FAMILIES["density"]()
    trainer = make_trainer(callbacks=[writer], default_root_dir=tmp_path)
    several = [loader(seed=1), loader(16, seed=2)]
    assert [len(batches) for batches in trainer.predict(model, several)] == [4, 2]
    assert writer.path == tmp_path / "predictions.npz"
    trainer.predict(model, several)  # again: what was predicted before is forgotten
    for each, name in zip(several, ("", "_dataloader_idx_1"), strict=True):
        with np.load(tmp_path / f"predictions{name}.npz") as arrays, torch.no_grad():
            expected = model.eval().log_prob(each.dataset)
            np.testing.assert_allclose(arrays["log_prob"], expected, rtol=1e-5)


@pytest.mark.parametrize("loaders", [None, []])
def test_no_validation_data_at_all(loaders, make_trainer):
    for make in FAMILIES.values():
        trainer = make_trainer()
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message=".*val_dataloader")
            trainer.fit(make(), loader(), loaders)
        assert trainer.callback_metrics["train/loss"].isfinite()
