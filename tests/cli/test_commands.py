"""The commands that need a checkpoint and no Trainer, in process."""

import sys
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml

import lightning_flows
from command_lines import command_said, small
from lightning_flows import DensityModule, cli
from lightning_flows.callbacks.drawing.isolation import evaluation, seeded
from lightning_flows.cli import commands
from lightning_flows.core.errors import CheckpointError

pytestmark = pytest.mark.filterwarnings("ignore")  # of Lightning and jsonargparse

PNG = b"\x89PNG"


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


def test_nothing_is_overwritten_silently(checkpoint, capsys):
    Path("out").mkdir()
    for name, args in {
        "out/spectrum.png": ["components", "--out=out", "--points=2"],
        "out/components.npz": ["components", "--out=out", "--points=2"],
        "out/x.npz": ["sample", "--out=out/x.npz"],
    }.items():
        Path(name).write_text("mine")
        args = [*args, f"--ckpt_path={checkpoint}"]
        assert f"{name} exists already; --overwrite replaces it." in command_said(args, capsys)
        assert Path(name).read_text() == "mine"
        commands.main([*args, "--overwrite"])
        capsys.readouterr()
        assert Path(name).read_bytes() != b"mine"
        for path in Path("out").iterdir():
            path.unlink()


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
    line = command_said([*args, "--ckpt_path=alone.ckpt"], capsys, status)
    assert message in line
    if status == 2:
        assert f"(`lightning-flows {args[0]} --help` explains all options.)" in line
    assert not Path("x").exists()


CONDITIONAL = ["--data=Digits", "--data.context=one-hot", "--data.batch_size=500"]


def test_images_and_labels(here, capsys):
    options = [option for option in small("fit") if "--data" not in option]
    cli.main([*options, *CONDITIONAL, "--trainer.max_steps=1"])
    (checkpoint,) = here.glob("runs/**/last.ckpt")
    capsys.readouterr()
    args = ["sample", f"--ckpt_path={checkpoint}", "-n=64"]  # few pixels change after one step
    line = command_said([*args, "--out=x.npz"], capsys)
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
        line = command_said([*args, "--out=x.npz", f"--label={label}"], capsys)
        assert f"label is {label}; acc" in line
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


def test_options_before_the_command_are_refused(checkpoint, capsys):
    Path("some.yaml").write_text(yaml.safe_dump({}))
    with pytest.raises(SystemExit) as stop:
        cli.main(["--config=some.yaml", "sample", f"--ckpt_path={checkpoint}", "--out=x.npz"])
    assert stop.value.code == 2
    assert "sample must come first on the command line" in capsys.readouterr().err
