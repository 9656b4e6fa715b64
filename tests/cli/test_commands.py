"""The commands that need a checkpoint and no Trainer, in process."""

import sys
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from lightning.pytorch import LightningDataModule, Trainer
from torch.utils.data import DataLoader, TensorDataset

import lightning_flows
from command_lines import small, train
from lightning_flows import DensityModule, RealNVP, cli
from lightning_flows.callbacks import ComponentExtraction
from lightning_flows.callbacks.drawing.isolation import evaluation, seeded
from lightning_flows.cli import commands, scenes
from lightning_flows.cli.runs import run_of
from lightning_flows.core.errors import CheckpointError
from lightning_flows.datamodules import Toy
from lightning_flows.transforms import Standardize

pytestmark = pytest.mark.filterwarnings("ignore")  # of Lightning and jsonargparse

PNG = b"\x89PNG"


@pytest.fixture(autouse=True)
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """The folder of a run of the moons."""
    return train(tmp_path_factory.mktemp("trained"))[1].parents[1]


@pytest.fixture
def checkpoint(run):
    return run / "checkpoints" / "last.ckpt"


@pytest.fixture
def alone(checkpoint, here):
    """A checkpoint without a config beside it."""
    path = here / "alone.ckpt"
    path.write_bytes(checkpoint.read_bytes())
    return path


def said(args, capsys, status=1):
    """The one sentence of a command that fails; the status is 2 where an option is unknown."""
    with pytest.raises(SystemExit) as stop:
        commands.main(list(map(str, args)))
    captured = capsys.readouterr()
    assert stop.value.code == status
    assert captured.out == ""
    lines = [line for line in captured.err.splitlines() if line.startswith("error: ")]
    assert len(lines) == 1
    assert "Traceback" not in captured.err
    return lines[0]


def test_load_finds_the_family_by_itself(checkpoint, alone):
    module = lightning_flows.load(checkpoint)
    assert type(module) is DensityModule
    assert not module.training
    content = torch.load(alone, weights_only=True)
    del content["family"]
    torch.save(content, alone)
    with pytest.raises(CheckpointError, match="does not name its family"):
        lightning_flows.load(alone)


def test_samples_are_those_of_the_model_for_a_seed(checkpoint, capsys):
    args = ["sample", f"--ckpt_path={checkpoint}", "-n", "70", "--batch_size=32"]
    for name, seed in (("a", 1), ("b", 1), ("c", 2)):
        torch.manual_seed(ord(name))
        commands.main([*args, f"--out=new/{name}.npz", f"--seed={seed}"])
    assert "new/a.npz\n" in capsys.readouterr().out
    a, b, c = (np.load(f"new/{name}.npz")["samples"] for name in "abc")
    assert a.shape == (70, 2)
    assert len(np.unique(a, axis=0)) == 70
    assert np.array_equal(a, b)
    assert not np.array_equal(a, c)
    commands.main([*args, "--out=cold.npz", "--temperature=0"])
    assert len(np.unique(np.load("cold.npz")["samples"].round(4), axis=0)) == 1
    commands.main([*args, "--out=a.png"])
    assert Path("a.png").read_bytes().startswith(PNG)


def test_components_are_those_of_the_callback(run, checkpoint, here, capsys):
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


def test_data_comes_from_the_option_or_a_config_or_the_run(run, checkpoint, alone):
    args = ["components", "--points=3"]
    own = ["--data=Toy", "--data.n_val=100"]
    commands.main([*args, f"--ckpt_path={alone}", "--out=option", *own])
    commands.main([*args, f"--ckpt_path={alone}", "--out=config", f"--config={run}/config.yaml"])
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


def test_components_know_the_name_of_the_data_in_mappings(here):
    module = DensityModule(partial(RealNVP, layers=2, hidden=(8,)), 3, data_key="rows")
    trainer = Trainer(max_epochs=0, logger=False, enable_checkpointing=False, accelerator="cpu")
    trainer.fit(module, Named())
    trainer.save_checkpoint("named.ckpt")
    args = ["components", "--ckpt_path=named.ckpt", "--points=3", "--out=found", "--walks=1"]
    commands.main([*args, f"--data={__name__}.Named"])
    np.testing.assert_array_equal(np.load("found/components.npz")["points"], Named().x[:3])


def test_noise_is_that_of_preprocessed_data_and_splits_have_their_stage(here):
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


def test_nothing_is_overwritten_silently(checkpoint, capsys):
    Path("out").mkdir()
    for name, args in {
        "out/spectrum.png": ["components", "--out=out", "--points=2"],
        "out/components.npz": ["components", "--out=out", "--points=2"],
        "out/x.npz": ["sample", "--out=out/x.npz"],
    }.items():
        Path(name).write_text("mine")
        args = [*args, f"--ckpt_path={checkpoint}"]
        assert f"{name} exists already; --overwrite replaces it." in said(args, capsys)
        assert Path(name).read_text() == "mine"
        commands.main([*args, "--overwrite"])
        capsys.readouterr()
        assert Path(name).read_bytes() != b"mine"
        for path in Path("out").iterdir():
            path.unlink()


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


def test_the_config_of_a_run_lies_beside_its_checkpoint_or_above(run, here):
    for folder in ("beside", "above/checkpoints"):
        Path(folder).mkdir(parents=True)
    for name, validation in (("beside", 7), ("above", 8)):
        Path(name, "config.yaml").write_text(
            f"data: {{class_path: Toy, init_args: {{n_val: {validation}}}}}"
        )
    for path, rows in (("beside/x.ckpt", 7), ("above/checkpoints/x.ckpt", 8)):
        assert len(scenes.data_of_run(Path(path)).load()["val"]["x"]) == rows
    assert scenes.data_of_run(Path("above/checkpoints/deeper/still/x.ckpt")) is None


MALFORMED = {
    "family is no recipe": (
        lambda c: c.update(family="DensityModule"),
        "is no recipe: it has no cl",
    ),
    "family without class": (lambda c: c["family"].pop("class_path"), "is no recipe: it has no cl"),
    "family's class": (lambda c: c["family"].update(class_path=3), "class_path is 3; accepted are"),
    "family's options": (lambda c: c["family"].update(init_args=[1]), "init_args is [1]; accepted"),
    "unknown option": (
        lambda c: c["family"].update(init_args={"x": 1}),
        "class_path 'lightning_flows.DensityModule': got an unexpected keyword argument 'x'",
    ),
    "no arguments": (lambda c: c.pop("hyper_parameters"), "missing 2 required positional"),
    "flow is a number": (
        lambda c: c["hyper_parameters"].update(flow=3),
        "alone.ckpt: flow is 3; give what makes it, such as RealNVP",
    ),
    "flow's class": (lambda c: c["hyper_parameters"]["flow"].update(class_path=3), "class_path is"),
    "flow of another kind": (
        lambda c: c["hyper_parameters"]["flow"].update(class_path="lightning_flows.nets.MLP"),
        "class_path 'lightning_flows.nets.MLP': got an unexpected keyword argument",
    ),
    "flow's options": (
        lambda c: c["hyper_parameters"]["flow"]["init_args"].update(hidden="x"),
        "hidden is x; accepted are positive integers",
    ),
    "shape": (lambda c: c["hyper_parameters"].update(event_shape="x"), "event_shape is 'x'; acc"),
    "preprocess": (lambda c: c.update(preprocess=3), "3 is no recipe: it has no class_path"),
    "preprocess of another kind": (
        lambda c: c["preprocess"].update(class_path="torch.optim.Adam"),
        "class_path 'torch.optim.Adam' is no Transform",
    ),
    "weights": (lambda c: c.update(state_dict=3), "Expected state_dict to be dict-like"),
}


@pytest.mark.parametrize("name", MALFORMED)
def test_malformed_checkpoints_are_refused_in_one_sentence(name, alone, capsys):
    change, message = MALFORMED[name]
    content = torch.load(alone, weights_only=True)
    change(content)
    torch.save(content, alone)
    line = said(["sample", "--out=x.npz", "--ckpt_path=alone.ckpt"], capsys)
    assert line.startswith("error: The checkpoint alone.ckpt")
    assert message in line


class NoDecoder(DensityModule):
    """Cannot decode."""

    decode = None


def test_a_module_without_decode_is_refused(checkpoint, capsys, monkeypatch):
    content = torch.load(checkpoint, weights_only=True)
    content["family"] = {"class_path": "a_family.NoDecoder", "init_args": {}}
    torch.save(content, "other.ckpt")
    monkeypatch.setitem(sys.modules, "a_family", sys.modules[__name__])
    line = said(["components", "--ckpt_path=other.ckpt", "--out=x"], capsys)
    assert "ComponentExtraction calls decode(z), which NoDecoder does not have" in line


BAD_INPUT = {
    "no data": (["components", "--out=x"], "alone.ckpt is a checkpoint without data"),
    "no config": (["components", "--out=x", "--config=no.yaml"], "No such file or directory: no.y"),
    "no section": (["components", "--out=x", "--config=empty.yaml"], "no section `data`"),
    "other data": (["components", "--out=x", "--data=Digits"], "x has shape"),
    "class": (["components", "--out=x", "--data=Toyy"], "Toyy is unknown or does not fit"),
    "split": (["components", "--out=x", "--data=Toy", "--data.n_val=0"], "Toy has no val split"),
    "too many": (["components", "--out=x", "--data=Toy", "--k=3"], "k is 3"),
    "option": (["components", "--out=x", "--tikhonov=-1"], "tikhonov is -1.0"),
    "unknown": (["sample", "--out=x.npz", "--temprature=1"], "--temprature=1"),
    "number": (["sample", "--out=x.npz", "-n", "0"], "n is 0; accepted are positive integers"),
    "batches": (["sample", "--out=x.npz", "--batch_size=0"], "batch_size is 0"),
    "cold": (["sample", "--out=x.npz", "--temperature=-1"], "temperature is -1.0"),
    "format": (["sample", "--out=x.jpg"], "x.jpg is no file that can be written"),
    "seed": (["sample", "--out=x.npz", "--seed=-1"], "seed is -1; accepted are integers from 0"),
    "points": (["components", "--out=x", "--data=Toy", f"--points={10**20}"], "points is 1000"),
    "bytes": (["components", "--out=x", "--config=alone.ckpt"], "alone.ckpt is no config in YAML"),
    "label": (["sample", "--out=x.npz", "--label=3"], "label was given, but the model is not"),
    "device": (["sample", "--out=x.npz", "--device=abacus"], "device 'abacus' cannot be used"),
}


@pytest.mark.parametrize("name", BAD_INPUT)
def test_bad_input_is_one_sentence(name, alone, capsys):
    Path("empty.yaml").write_text("")
    args, message = BAD_INPUT[name]
    status = 2 if name in ("class", "unknown") else 1
    line = said([*args, "--ckpt_path=alone.ckpt"], capsys, status)
    assert message in line
    if status == 2:
        assert f"(`lightning-flows {args[0]} --help` explains all options.)" in line
    assert not Path("x").exists()


def test_checkpoints_that_cannot_be_read(alone, capsys):
    args = ["sample", "--out=x.npz", "--ckpt_path=alone.ckpt"]
    alone.write_bytes(alone.read_bytes()[:500])
    assert "alone.ckpt is damaged or no checkpoint" in said(args, capsys)
    alone.unlink()
    assert said(args, capsys) == "error: The checkpoint alone.ckpt does not exist."
    assert "required: ckpt_path" in said(args[:2], capsys, 2)


CONDITIONAL = ["--data=Digits", "--data.context=one-hot", "--data.batch_size=500"]


def test_images_and_labels(here, capsys):
    options = [option for option in small("fit") if "--data" not in option]
    cli.main([*options, *CONDITIONAL, "--trainer.max_steps=1"])
    (checkpoint,) = here.glob("runs/**/last.ckpt")
    capsys.readouterr()
    args = ["sample", f"--ckpt_path={checkpoint}", "-n=64"]  # few pixels change after one step
    line = said([*args, "--out=x.npz"], capsys)
    assert "conditioned on context of shape (10,) and label is None" in line
    for label in (1, 7):
        commands.main([*args, f"--out={label}.npz", f"--label={label}"])
    one, seven = (np.load(f"{label}.npz")["samples"] for label in (1, 7))
    assert one.shape == (64, 1, 8, 8)
    assert not np.array_equal(one, seven)
    module = lightning_flows.load(checkpoint)
    for label, found in ((1, one), (7, seven)):
        with evaluation(module), seeded(module.device, 0, 0):
            expected = module.sample(64, torch.eye(10)[[label]])[0]
        np.testing.assert_array_equal(found, expected)
    for label in (-1, 10):
        capsys.readouterr()
        assert f"label is {label}; acc" in said([*args, "--out=x.npz", f"--label={label}"], capsys)
    commands.main([*args, "--out=1.png", "--label=1"])
    assert Path("1.png").read_bytes().startswith(PNG)
    commands.main(["components", f"--ckpt_path={checkpoint}", "--out=c", "--points=2", "--k=2"])
    assert np.load("c/components.npz")["axes"].shape == (2, 2, 1, 8, 8)


def test_help_shows_the_commands_beside_those_of_the_trainer(capsys, monkeypatch):
    for args, words in (
        (["--help"], ("fit", "validate", "test", "predict", "sample ", "components ")),
        (["sample", "--help"], ("-n N", "--temperature", "Draw samples from a checkpoint")),
        (["components", "--help"], ("--data", "--points", "--overwrite")),
    ):
        monkeypatch.setattr(sys, "argv", ["lightning-flows", *args])
        with pytest.raises(SystemExit) as stop:
            cli.run()
        assert stop.value.code == 0
        out = capsys.readouterr().out
        for word in words:
            assert word in out, word


def test_the_console_script_runs_the_commands(checkpoint, here, monkeypatch):
    options = [f"--ckpt_path={checkpoint}", "--out=x.npz", "--n=3", "--seed=5", "--temperature=0.5"]
    monkeypatch.setattr(sys, "argv", ["lightning-flows", "sample", *options])
    cli.run()
    module = lightning_flows.load(checkpoint)
    with evaluation(module), seeded(module.device, 5, 0):
        expected = module.sample(3, None, 0.5)
    with np.load("x.npz") as arrays:
        np.testing.assert_array_equal(arrays["samples"], expected)


def test_samples_that_are_not_finite_are_no_secret(checkpoint, here, capsys):
    args = ["sample", f"--ckpt_path={checkpoint}", "-n=3"]
    commands.main([*args, "--out=x.npz"])
    assert "finite" not in capsys.readouterr().err
    commands.main([*args, "--out=y.npz", "--temperature=1e39"])
    assert "warning: 3 of 3 samples are not finite.\n" in capsys.readouterr().err


def test_options_before_the_command_are_refused(checkpoint, capsys, run):
    Path("some.yaml").write_text(yaml.safe_dump({}))
    with pytest.raises(SystemExit) as stop:
        cli.main(["--config=some.yaml", "sample", f"--ckpt_path={checkpoint}", "--out=x.npz"])
    assert stop.value.code == 2
    assert "sample must come first on the command line" in capsys.readouterr().err
