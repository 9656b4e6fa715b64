"""Parts of one's own, as examples/own_parts has them: each is held to what its kind promises."""

from functools import partial

import lightning.pytorch as pl
import pytest
import torch
from own_parts.equal_lengths import EqualLengths
from own_parts.latents import LatentHistogram
from own_parts.noisy_sine import SineGivenTime
from own_parts.robust import RobustModule
from own_parts.sinh_arcsinh import SinhArcsinh, SinhArcsinhFlow
from torch.func import jacrev, vmap

from command_lines import run_folder, small
from lightning_flows import DensityModule, RealNVP, RectangularModule, cli, load
from lightning_flows.flows import PaddedFlow
from proofs import flow, transform
from proofs.common import pairs

TRANSFORMS = {"SinhArcsinh (3,)": lambda: SinhArcsinh(3)}
FLOWS = {"SinhArcsinhFlow": lambda: SinhArcsinhFlow(2, layers=2)}
SMALL = partial(RealNVP, layers=2, hidden=(8,))


@pytest.mark.parametrize(("prove", "build"), pairs(TRANSFORMS, transform.PROOFS))
def test_transform(prove, build):
    prove(build)


@pytest.mark.parametrize(("prove", "build"), pairs(FLOWS, flow.PROOFS))
def test_flow(prove, build):
    prove(build)


@pytest.mark.parametrize("module", ["density", "rectangular"])
def test_penalty(module):
    penalties = [EqualLengths(0.5)]
    padded = partial(PaddedFlow, latent_features=2, ambient=SMALL, prior=SMALL)
    model = (
        DensityModule(SMALL, 3, penalties=penalties)
        if module == "density"
        else RectangularModule(padded, 3, penalties=penalties)
    ).double()
    x = torch.randn(8, 3).double()
    decode = model.flow.decode if module == "density" else model.flow.embed
    u = model.flow.encode(x) if module == "density" else model.flow.project(x)
    j = vmap(jacrev(lambda row: decode(row[None])[0]))(u)
    value = model.training_loss(x, None)[1]["penalty/equal_lengths"]
    torch.testing.assert_close(value, j.norm(dim=1).log().var(1, correction=0))


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
