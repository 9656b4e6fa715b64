"""Every module runs under every legal setting of the Trainer."""

from functools import partial

import numpy as np
import pytest
import torch
from lightning.pytorch import cli
from lightning.pytorch.callbacks import EarlyStopping, ModelCheckpoint
from module_cases import CASES
from torch.optim.lr_scheduler import ReduceLROnPlateau, StepLR
from torch.utils.data import DataLoader

from lightning_flows.callbacks import PredictionWriter
from proofs.module_settings import SETTINGS, runs_under

pytestmark = pytest.mark.filterwarnings(
    "ignore:.*(val_dataloader|Total length of|exists and is not empty|sanity check|overfit)",
    "ignore:.*(barebones|log_every_n_steps|lr_scheduler.step|ended|many workers|train_batches)",
)


def loader(n=32, seed=0):
    x = torch.randn(n, 4, generator=torch.Generator().manual_seed(seed))
    return DataLoader(x, batch_size=8)


@pytest.mark.parametrize(
    ("name", "setting"),
    [
        pytest.param(name, setting, marks=[pytest.mark.slow] * (name != "free form"))
        for name in CASES
        for setting in SETTINGS
    ],
)
def test_modules_run_under_every_setting(name, setting):
    runs_under(setting, CASES[name])


@pytest.mark.parametrize("family", ["surjective", "rectangular"])
def test_the_first_of_several_loaders_has_the_plain_names(family, make_trainer, tmp_path):
    watch = EarlyStopping("val/loss", patience=5), ModelCheckpoint(tmp_path, monitor="val/loss")
    model = CASES[family].build(
        4,
        optimizer=partial(torch.optim.SGD, lr=0.0),
        scheduler=partial(ReduceLROnPlateau, patience=9),
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
    found = CASES["density"].build(4, scheduler=scheduler).configure_optimizers()["lr_scheduler"]
    assert found == {"scheduler": found["scheduler"], "interval": "epoch", **monitored}


def test_predictions_of_several_loaders_are_several_files(make_trainer, tmp_path):
    writer, model = PredictionWriter(), CASES["density"].build(4)
    trainer = make_trainer(callbacks=[writer], default_root_dir=tmp_path)
    several = [loader(seed=1), loader(16, seed=2)]
    assert [len(batches) for batches in trainer.predict(model, several)] == [4, 2]
    assert writer.path == tmp_path / "predictions.npz"
    trainer.predict(model, several)  # again: what was predicted before is forgotten
    for each, name in zip(several, ("", "_dataloader_idx_1"), strict=True):
        with np.load(tmp_path / f"predictions{name}.npz") as arrays, torch.no_grad():
            expected = model.eval().log_prob(each.dataset)
            np.testing.assert_allclose(arrays["log_prob"], expected, rtol=1e-5)
