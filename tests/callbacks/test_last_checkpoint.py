"""`last.ckpt` is the newest state, and a run that goes on from it is the run."""

import signal
from functools import partial
from types import SimpleNamespace

import lightning.pytorch as pl
import pandas as pd
import pytest
import torch
from lightning.pytorch.callbacks import ModelCheckpoint
from lightning.pytorch.loggers import CSVLogger
from torch.optim.lr_scheduler import ReduceLROnPlateau

from lightning_flows import DensityModule, RealNVP
from lightning_flows.callbacks import LastCheckpoint, last_checkpoint
from lightning_flows.core.errors import CheckpointError, ConfigError
from lightning_flows.datamodules import Toy
from lightning_flows.modules.checkpoint_io import AtomicCheckpointIO

# the second part of a run writes to a folder of its own here
pytestmark = [
    pytest.mark.filterwarnings("ignore:The dirpath has changed"),
    pytest.mark.filterwarnings("ignore:Checkpoint directory .* exists"),
]

SETTINGS = {
    "plain": ({}, None),
    "plateau": ({}, partial(ReduceLROnPlateau, patience=0, factor=0.5, threshold=0.5)),
    "accumulated": ({"accumulate_grad_batches": 2, "val_check_interval": 2}, None),
}


class At(pl.Callback):
    """Does something after the n-th batch of the run, in training."""

    def __init__(self, n, act):
        self.n, self.act = n, act

    def on_train_batch_end(self, trainer, pl_module, outputs, batch, batch_idx):
        if trainer.fit_loop.epoch_loop.total_batch_idx + 1 == self.n:
            self.act(pl_module)


def send(number):
    return lambda _: signal.raise_signal(number)


def run(folder, *callbacks, scheduler=None, optimizer=None, ckpt_path=None, layers=2, **options):
    pl.seed_everything(3, verbose=False)
    data = Toy("moons", n_train=330, n_val=64, n_test=64, batch_size=64, standardize=True)
    flow = partial(RealNVP, layers=layers, hidden=(8,))
    module = DensityModule(flow, data.event_shape, optimizer=optimizer, scheduler=scheduler)
    logger = CSVLogger(folder, name="", version="", flush_logs_every_n_steps=1)
    trainer = pl.Trainer(
        **{"logger": logger, "max_epochs": 3, "log_every_n_steps": 1, **options},
        default_root_dir=folder,
        accelerator="cpu",
        callbacks=[*callbacks, ModelCheckpoint(monitor="val/loss"), *last(callbacks)],
        plugins=[AtomicCheckpointIO()],
        enable_progress_bar=False,
        enable_model_summary=False,
    )
    trainer.fit(module, data, ckpt_path=ckpt_path)
    return trainer, module


def last(callbacks):
    return () if any(isinstance(c, LastCheckpoint) for c in callbacks) else (LastCheckpoint(),)


def series(*folders):
    """Every logged number with its step, by name."""
    logged = pd.concat([pd.read_csv(folder / "metrics.csv") for folder in folders])
    names = [name for name in logged if name not in ("epoch", "step")]
    return {name: logged[["step", name]].dropna().values.tolist() for name in names}


def steps_of(path):
    return torch.load(path, weights_only=True)["global_step"]


@pytest.fixture(scope="module", params=SETTINGS)
def whole(request, tmp_path_factory):
    folder = tmp_path_factory.mktemp("whole")
    options, scheduler = SETTINGS[request.param]
    options = {**options, "scheduler": scheduler}
    return folder, options, run(folder, **options)[1].state_dict()


# six batches make an epoch: within one, before its last batch, at it, and in the second
@pytest.mark.parametrize("batch", [2, 5, 6, 9])
def test_a_run_that_was_stopped_goes_on_as_if_it_had_not(whole, batch, tmp_path):
    folder, options, weights = whole
    with pytest.raises(SystemExit) as stopped:
        run(tmp_path / "first", At(batch, send(signal.SIGTERM)), **options)
    assert stopped.value.code == 143
    path = tmp_path / "first" / "checkpoints" / "last.ckpt"
    _, module = run(tmp_path / "second", ckpt_path=path, **options)
    for name, value in module.state_dict().items():
        assert torch.equal(value, weights[name]), name
    assert series(tmp_path / "first", tmp_path / "second") == series(folder)


def test_the_newest_state_is_kept_where_the_best_is_an_early_one(tmp_path):
    optimizer = partial(torch.optim.Adam, lr=1e-3, maximize=True)
    rising = {"optimizer": optimizer, "logger": False}
    trainer, _ = run(tmp_path, max_epochs=4, **rising)
    best = trainer.checkpoint_callback.best_model_path
    assert steps_of(best) == 6
    assert steps_of(tmp_path / "checkpoints" / "last.ckpt") == 24
    path = tmp_path / "checkpoints" / "last.ckpt"
    again, _ = run(tmp_path, ckpt_path=path, max_epochs=5, **rising)
    assert again.global_step == 30
    assert again.checkpoint_callback.best_model_path == best


def test_checkpoints_within_an_epoch_follow_the_clock(tmp_path):
    folder = tmp_path / "checkpoints"
    seen = []

    class See(pl.Callback):
        def on_train_batch_start(self, trainer, pl_module, batch, batch_idx):
            if (folder / "last.ckpt").exists():
                seen.append((trainer.global_step, steps_of(folder / "last.ckpt")))

    run(tmp_path, See(), LastCheckpoint(minutes=0), max_epochs=2)
    # the last batch of an epoch waits for the validation that follows
    assert seen == [(n, n) for n in range(1, 12)]
    assert steps_of(folder / "previous.ckpt") == 11
    assert sorted(path.name for path in folder.iterdir())[1:] == ["last.ckpt", "previous.ckpt"]


def test_minutes_are_counted_from_the_start_and_from_each_checkpoint(tmp_path, monkeypatch):
    now, newest = [1e6], []
    clock = SimpleNamespace(monotonic=lambda: now[0])
    monkeypatch.setattr(last_checkpoint, "time", clock)

    class HalfAMinute(pl.Callback):
        def on_train_batch_start(self, trainer, pl_module, batch, batch_idx):
            path = tmp_path / "checkpoints" / "last.ckpt"
            newest.append(steps_of(path) if path.exists() else 0)
            now[0] += 30

    run(tmp_path, HalfAMinute(), LastCheckpoint(minutes=2), max_epochs=2)
    assert newest == [0, 0, 0, 0, 4, 4, 6, 6, 6, 6, 10, 10]  # an epoch ends after six batches


def test_one_that_has_ended_a_run_goes_through_another(tmp_path):
    callback = LastCheckpoint()
    with pytest.raises(SystemExit):
        run(tmp_path / "first", At(3, send(signal.SIGTERM)), callback, max_epochs=1)
    trainer, _ = run(tmp_path / "second", callback, max_epochs=1)
    assert trainer.global_step == 6


def test_a_signal_can_ask_for_a_checkpoint_alone(tmp_path):
    saved = []

    def look(_):
        saved.append(steps_of(tmp_path / "checkpoints" / "last.ckpt"))

    trainer, _ = run(tmp_path, At(8, send(signal.SIGUSR1)), At(10, look), max_epochs=2)
    assert saved == [8]
    assert trainer.global_step == 12


def test_an_interrupt_ends_with_its_own_status_and_signals_are_given_back(tmp_path):
    before = [signal.getsignal(n) for n in (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1)]
    with pytest.raises(SystemExit) as stopped:
        run(tmp_path, At(3, send(signal.SIGINT)))
    assert stopped.value.code == 130
    assert [signal.getsignal(n) for n in (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1)] == before


def fail(_):
    raise RuntimeError("no such luck")


def spoil(module):
    with torch.no_grad():
        next(module.parameters()).fill_(torch.nan)
    raise RuntimeError("no such luck")


def test_an_exception_leaves_a_checkpoint_and_goes_on_its_way(tmp_path, capsys):
    with pytest.raises(RuntimeError, match="no such luck"):
        run(tmp_path, At(8, fail))
    path = tmp_path / "checkpoints" / "last.ckpt"
    assert steps_of(path) == 8
    assert capsys.readouterr().err == f"Saved {path}; to go on, add: --ckpt_path {path}\n"


class FailsWithin(pl.Callback):
    """Fails before the gradient of the n-th batch."""

    def __init__(self, n):
        self.n = n

    def on_before_backward(self, trainer, pl_module, loss):
        if trainer.fit_loop.epoch_loop.total_batch_idx + 1 == self.n:
            fail(pl_module)


# the eighth is the second of an accumulation, whose first one cannot be gone on from
@pytest.mark.parametrize("batch", [7, 8])
def test_a_step_that_failed_is_done_again(whole, batch, tmp_path):
    _, options, weights = whole
    with pytest.raises(RuntimeError, match="no such luck"):
        run(tmp_path / "first", FailsWithin(batch), **options)
    path = tmp_path / "first" / "checkpoints" / "last.ckpt"
    accumulated = "accumulate_grad_batches" in options
    assert steps_of(path) == (3 if accumulated else batch - 1)
    _, module = run(tmp_path / "second", ckpt_path=path, **options)
    for name, value in module.state_dict().items():
        assert torch.equal(value, weights[name]), name


def test_weights_that_are_not_finite_replace_nothing(tmp_path):
    with pytest.raises(RuntimeError, match="no such luck"):
        run(tmp_path, At(8, spoil))
    assert steps_of(tmp_path / "checkpoints" / "last.ckpt") == 6


def test_a_checkpoint_that_does_not_fit_is_left_as_it_is(tmp_path):
    run(tmp_path, logger=False, max_epochs=1)
    path = tmp_path / "checkpoints" / "last.ckpt"
    before = path.read_bytes()
    with pytest.raises(CheckpointError, match="another architecture"):
        run(tmp_path, logger=False, ckpt_path=path, layers=3)
    assert path.read_bytes() == before


@pytest.mark.parametrize("minutes", [-1.0, float("nan"), float("inf")])
def test_bad_intervals_are_refused(minutes):
    with pytest.raises(ConfigError, match="minutes"):
        LastCheckpoint(minutes)
