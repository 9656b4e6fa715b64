"""The command `components`: what it finds, of which data, and in which split."""

import sys
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
from lightning.pytorch import LightningDataModule, Trainer
from torch.utils.data import DataLoader, TensorDataset

from command_lines import command_said, small
from lightning_flows import DensityModule, RealNVP, cli
from lightning_flows.callbacks import ComponentExtraction
from lightning_flows.cli import commands, scenes
from lightning_flows.cli.runs import run_of
from lightning_flows.datamodules import Toy
from lightning_flows.transforms import Standardize

pytestmark = pytest.mark.filterwarnings("ignore")  # of Lightning and jsonargparse


def test_components_are_those_of_the_callback(checkpoint, capsys):
    args = ["components", f"--ckpt_path={checkpoint}", "--points=5", "--k=2", "--relative=0.1"]
    commands.main([*args, "--out=found"])
    written = capsys.readouterr().out.split()
    assert {str(path) for path in Path("found").iterdir()} == set(written)
    pictures = [path for path in written if path.endswith(".png")]
    assert {f"found/{name or 'components'}.png" for name in ComponentExtraction.figures} >= {
        *pictures
    }
    assert len(pictures) >= 3

    options = ["--trainer.callbacks=ComponentExtraction", "--trainer.callbacks.points=5"]
    options += ["--trainer.callbacks.k=2", "--trainer.callbacks.relative=0.1"]
    options += ["--data.standardize=true", f"--ckpt_path={checkpoint}"]
    cli.main(small("validate", *options))
    drawn = run_of(checkpoint) / "images" / "components" / "validate.npz"
    with np.load("found/components.npz") as found, np.load(drawn) as expected:
        assert sorted(found) == sorted(expected)
        for key in expected:
            np.testing.assert_array_equal(found[key], expected[key], err_msg=key)


def test_data_comes_from_the_option_or_a_config_or_the_run(checkpoint, alone):
    args = ["components", "--points=3"]
    own = ["--data=Toy", "--data.n_val=100"]
    config = checkpoint.parents[1] / "config.yaml"
    commands.main([*args, f"--ckpt_path={alone}", "--out=option", *own])
    commands.main(
        [
            *args,
            f"--ckpt_path={alone}",
            "--out=config",
            f"--config={config}",
        ]
    )
    commands.main([*args, f"--ckpt_path={checkpoint}", "--out=run"])
    commands.main([*args, f"--ckpt_path={checkpoint}", "--out=test", "--split=test"])
    few, many = (Toy("moons", n_val=n, n_test=100).load() for n in (100, 2000))
    for folder, points in {
        "option": few["val"], "config": many["val"], "run": many["val"], "test": many["test"]
    }.items():  # fmt: skip
        found = np.load(f"{folder}/components.npz")["points"]
        np.testing.assert_array_equal(found, points["x"][:3], err_msg=folder)


class Staged(LightningDataModule):
    """Three standardized columns in units of their own; has the split of the stage alone."""

    def __init__(self):
        super().__init__()
        generator = torch.Generator().manual_seed(0)
        self.x = torch.tensor([100.0, 1.0, 0.01]) * torch.randn(400, 3, generator=generator)
        self.preprocess = Standardize(3)
        self.preprocess.fit(self.x)

    def setup(self, stage):
        self.rows = {"fit": self.x[:200], "test": self.x[200:]}[stage]

    def train_dataloader(self):
        return DataLoader(self.rows, batch_size=100)

    val_dataloader = test_dataloader = train_dataloader


class Named(Staged):
    """The same rows in mappings, under a name of their own."""

    def train_dataloader(self):
        return DataLoader([{"rows": row} for row in self.rows], batch_size=100)

    val_dataloader = test_dataloader = train_dataloader


def test_components_know_the_name_of_the_data_in_mappings():
    module = DensityModule(partial(RealNVP, layers=2, hidden=(8,)), 3, data_key="rows")
    trainer = Trainer(max_epochs=0, logger=False, enable_checkpointing=False, accelerator="cpu")
    trainer.fit(module, Named())
    trainer.save_checkpoint("named.ckpt")
    args = ["components", "--ckpt_path=named.ckpt", "--points=3", "--out=found", "--walks=1"]
    commands.main([*args, f"--data={__name__}.Named"])
    np.testing.assert_array_equal(np.load("found/components.npz")["points"], Named().x[:3])


def test_noise_is_that_of_preprocessed_data_and_splits_have_their_stage():
    data = Staged()
    module = DensityModule(partial(RealNVP, layers=2, hidden=(8,)), 3)  # starts as the identity
    trainer = Trainer(max_epochs=0, logger=False, enable_checkpointing=False, accelerator="cpu")
    trainer.fit(module, data)
    trainer.save_checkpoint("three.ckpt")
    args = ["components", "--ckpt_path=three.ckpt", "--points=3", "--tikhonov=1e-3", "--walks=0"]
    args += [f"--data={__name__}.Staged"]
    for split, first in (("val", 0), ("test", 200)):
        commands.main([*args, f"--out={split}", f"--split={split}"])
        found = np.load(f"{split}/components.npz")
        np.testing.assert_array_equal(found["points"], data.x[first : first + 3])
        assert found["dimension"].tolist() == [3, 3, 3]
        np.testing.assert_allclose(found["variances"], 1 - 2e-3, rtol=1e-4)


class OneStage(LightningDataModule):
    """Data that knows only the stage that was set up."""

    def setup(self, stage):
        x = torch.linspace(-1, 1, 8).reshape(4, 2) + (10.0 if stage == "test" else 0.0)
        self.loaders = {stage: DataLoader(TensorDataset(x), batch_size=4)}

    def train_dataloader(self):
        return self.loaders["fit"]

    def val_dataloader(self):
        return self.loaders["fit"]

    def test_dataloader(self):
        return self.loaders["test"]


@pytest.mark.parametrize("split", ["train", "val", "test"])
def test_the_split_decides_what_is_set_up(split, alone):
    extraction = ComponentExtraction(points=3, k=2, walks=0)
    commands.components(alone, Path("x"), extraction=extraction, data=OneStage(), split=split)
    with np.load("x/components.npz") as arrays:
        assert (arrays["points"] > 5).all() == (split == "test")


def test_the_config_of_a_run_lies_beside_its_checkpoint_or_above():
    for folder in ("beside", "above/checkpoints"):
        Path(folder).mkdir(parents=True)
    for name, validation in (("beside", 7), ("above", 8)):
        Path(name, "config.yaml").write_text(
            f"data: {{class_path: Toy, init_args: {{n_val: {validation}}}}}"
        )
    for path, rows in (("beside/x.ckpt", 7), ("above/checkpoints/x.ckpt", 8)):
        assert len(scenes.data_of_run(Path(path)).load()["val"]["x"]) == rows
    assert scenes.data_of_run(Path("above/checkpoints/deeper/still/x.ckpt")) is None


class NoDecoder(DensityModule):
    """Cannot decode."""

    decode = None


def test_a_module_without_decode_is_refused(checkpoint, capsys, monkeypatch):
    content = torch.load(checkpoint, weights_only=True)
    content["family"] = {"class_path": "a_family.NoDecoder", "init_args": {}}
    torch.save(content, "other.ckpt")
    monkeypatch.setitem(sys.modules, "a_family", sys.modules[__name__])
    line = command_said(["components", "--ckpt_path=other.ckpt", "--out=x"], capsys)
    assert "ComponentExtraction calls decode(z), which NoDecoder does not have" in line
