"""Parts of one's own, as examples/own_parts has them: each is held to what its kind promises."""

from functools import partial

import lightning.pytorch as pl
import pytest
import torch
from own_cases import CASES
from own_parts.equal_lengths import EqualLengths
from own_parts.latents import LatentHistogram
from own_parts.noisy_sine import SineGivenTime
from own_parts.robust import RobustModule
from own_parts.sinh_arcsinh import SinhArcsinh, SinhArcsinhFlow

from command_lines import run_folder, small
from lightning_flows import RealNVP, cli, load
from proofs import callback, datamodule, flow, module, penalty, transform
from proofs.callback import CallbackCase
from proofs.common import pairs
from proofs.datamodule import DataCase
from proofs.module_ranks import crossed, runs_of
from proofs.penalty import PenaltyCase

pytestmark = pytest.mark.filterwarnings(
    "ignore:.*(does not have many workers|module.s. in eval mode at the start|LeafSpec)",
    "ignore:.*(exists and is not empty|train_batches|val_dataloader|Total length of)",
    "ignore:.*lr_scheduler.step",
)
TRANSFORMS = {"SinhArcsinh (3,)": lambda: SinhArcsinh(3)}
FLOWS = {"SinhArcsinhFlow": lambda: SinhArcsinhFlow(2, layers=2)}
SMALL = partial(RealNVP, layers=2, hidden=(8,))


@pytest.mark.parametrize(("prove", "build"), pairs(TRANSFORMS, transform.PROOFS))
def test_transform(prove, build):
    prove(build)


@pytest.mark.parametrize(("prove", "build"), pairs(FLOWS, flow.PROOFS))
def test_flow(prove, build):
    prove(build)


def squared_deviation(f, g):
    return g.norm(dim=1).log().var(1, correction=0)


PENALTIES = {"EqualLengths": PenaltyCase(EqualLengths(0.5), squared_deviation)}
CALLBACKS = {
    "LatentHistogram": CallbackCase(lambda _: LatentHistogram(60), "images/latents/0001.png")
}
DATA = {
    "SineGivenTime": DataCase(
        lambda _: SineGivenTime(217, batch_size=16), (175, 21, 21), (1,), (1,)
    )
}


@pytest.mark.parametrize(("prove", "case"), pairs(PENALTIES, penalty.PROOFS))
def test_penalty(prove, case):
    prove(case)


@pytest.mark.parametrize(("prove", "case"), pairs(CALLBACKS, callback.PROOFS))
def test_callback(prove, case):
    prove(case)


@pytest.mark.parametrize(("prove", "case"), pairs(DATA, datamodule.PROOFS))
def test_datamodule(prove, case):
    prove(case)


@pytest.mark.parametrize(("prove", "case"), pairs(CASES, module.PROOFS))
def test_module(prove, case):
    prove(case)


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    return runs_of(CASES, "own_cases", lambda: tmp_path_factory.mktemp("runs"))


@pytest.mark.slow
@pytest.mark.parametrize(("prove", "name"), crossed(CASES))
def test_module_on_two_ranks(prove, name, runs):
    prove(runs(name), CASES[name])


def test_everything_trains_together(tmp_path):
    data = SineGivenTime(2000, batch_size=100)
    model = RobustModule(
        partial(RealNVP, layers=4, hidden=(16, 16)),
        data.event_shape,
        data.context_shape,
        limit=5.0,
        optimizer=partial(torch.optim.Adam, lr=5e-3),
    )
    trainer = pl.Trainer(
        max_epochs=20,
        accelerator="cpu",
        default_root_dir=tmp_path,
        logger=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        callbacks=[LatentHistogram(60, every_n_epochs=0)],
    )
    trainer.fit(model, data)
    assert (tmp_path / "images" / "latents" / "0020.png").exists()
    trainer.save_checkpoint(tmp_path / "x.ckpt")
    again = load(tmp_path / "x.ckpt")
    drawn = again.sample(2000, torch.tensor([[-1.5], [1.5]]))[..., 0]
    assert drawn.mean(1).tolist() == pytest.approx([-0.997, 0.997], abs=0.2)
    assert drawn.std(1).tolist() == pytest.approx([0.4, 0.4], abs=0.15)


@pytest.mark.filterwarnings("ignore")  # of Lightning and jsonargparse
def test_own_parts_are_named_on_the_command_line(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    options = [
        "--model=own_parts.robust.RobustModule",
        "--model.flow=own_parts.sinh_arcsinh.SinhArcsinhFlow",
        "--trainer.callbacks=own_parts.latents.LatentHistogram",
    ]
    cli.main(small("fit", *options))
    run = run_folder(tmp_path)
    assert (run / "images" / "latents").is_dir()
    last = run / "checkpoints" / "last.ckpt"
    assert cli.main(["test", f"--ckpt_path={last}"]).trainer.callback_metrics["test/nll"] < 50
