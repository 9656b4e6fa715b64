"""Settings of the Trainer under which every module runs."""

import tempfile
import warnings
from pathlib import Path
from typing import Any

from lightning.pytorch.loggers import CSVLogger
from torch.utils.data import DataLoader, TensorDataset

from lightning_flows.callbacks import NonFiniteGuard, SampleGrid
from proofs.common import Proofs
from proofs.module_case import ModuleCase, made, rows, trainer

PROOFS = Proofs()
SETTINGS: dict[str, dict[str, Any]] = {
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


def loader(case: ModuleCase, split: str = "train") -> DataLoader[Any]:
    """A plain one of four batches at most."""
    x, context = (None if part is None else part[:32] for part in rows(case, split))
    return DataLoader(TensorDataset(x) if context is None else TensorDataset(x, context), 8)


def runs_under(setting: str, case: ModuleCase) -> None:
    options = {"max_epochs": 2, **SETTINGS[setting]}
    watched = [*case.callbacks(), NonFiniteGuard()]
    if setting in ("no validation", "validation by batches"):
        watched.append(SampleGrid(4, every_n_epochs=0))
    if setting == "barebones":
        options |= dict.fromkeys(("enable_checkpointing", "enable_progress_bar"))
        options |= {"enable_model_summary": None, "log_every_n_steps": None, "logger": None}
        options["num_sanity_val_steps"] = None
        watched = []
    with tempfile.TemporaryDirectory() as name:
        root = Path(name)
        if "log" in setting:
            options["logger"] = CSVLogger(root)
        model, run = made(case)[0], trainer(default_root_dir=root, callbacks=watched, **options)
        run.fit(model, loader(case), loader(case, "val"))
        fitted = dict(run.callback_metrics)
        text = "".join(path.read_text() for path in root.rglob("*.csv"))
        tested = run.test(model, loader(case, "test"), verbose=False)
    for figure, value in fitted.items():
        assert value.isfinite(), figure
    if setting not in ("no validation", "no training", "barebones", "steps"):
        assert "val/loss" in fitted
    if setting == "log never":
        assert "val/loss" in text
        assert "train/loss" not in text
    assert all(parameter.isfinite().all() for parameter in model.parameters())
    if setting not in ("no test", "barebones"):
        assert "test/loss" in tested[0]


@PROOFS.add(slow=True)
def runs_where_training_is_never_logged(case: ModuleCase) -> None:
    runs_under("log never", case)


@PROOFS.add(slow=True)
def trains_without_data_to_validate_on(case: ModuleCase) -> None:
    for loaders in (None, []):
        run = trainer(callbacks=case.callbacks())
        with warnings.catch_warnings():  # Lightning asks whether no rows were meant
            warnings.filterwarnings("ignore", "Total length of `list` across ranks is zero")
            run.fit(made(case)[0], loader(case), loaders)
        assert run.callback_metrics["train/loss"].isfinite()
