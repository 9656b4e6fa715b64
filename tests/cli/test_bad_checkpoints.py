"""Checkpoints that are malformed, damaged, or of another run: one sentence."""

import shutil
from pathlib import Path

import pytest
import torch

from command_lines import command_said, said, small

pytestmark = pytest.mark.filterwarnings("ignore")  # of Lightning and jsonargparse


def test_checkpoints_that_do_not_fit(trained, capsys):
    checkpoint = trained[1]
    content = checkpoint.read_bytes()
    Path("half.ckpt").write_bytes(content[: len(content) // 2])
    status, line = said(small("test", "--ckpt_path=half.ckpt"), capsys)
    assert status == 1
    assert "half.ckpt is damaged or no checkpoint" in line

    other = [f"--ckpt_path={checkpoint}", "--data.standardize=true"]
    wrong = [
        ["--model.flow.layers=4"],
        ["--model.flow.hidden=[9]"],
        ["--model.flow=NeuralSplineFlow"],
        ["--model=RectangularModule", "--model.flow=PaddedFlow"],
        ["--data.name=sphere"],
        ["--data.standardize=false", "--model.flow.hidden=[9]"],
    ]
    for options in wrong:
        status, line = said(small("test", *other, *options), capsys)
        assert status == 1
        assert "The checkpoint belongs to another architecture than this" in line
    status, line = said(small("fit", *other, "--model.flow.layers=4"), capsys)
    assert "another architecture" in line


@pytest.mark.parametrize(
    ("optimizer", "missing"), [("SGD", "momentum, dampening"), ("RMSprop", "alpha")]
)
def test_resuming_with_another_optimizer(optimizer, missing, trained, capsys):
    shutil.copy(trained[1], "own.ckpt")
    options = ["--ckpt_path=own.ckpt", f"--model.optimizer={optimizer}"]
    status, line = said(small("fit", *options, "--trainer.max_epochs=2"), capsys)
    assert status == 1
    assert f"the state of another optimizer than {optimizer}, without {missing}; resume" in line


@pytest.mark.parametrize(
    ("state", "message"),
    [
        (None, "KeyError: 'Trying to restore optimizer state"),
        ([3], "The checkpoint holds another state than"),
    ],
    ids=["none", "another"],
)
def test_resuming_without_a_sound_state(state, message, trained, capsys):
    content = torch.load(trained[1], weights_only=True)
    del content["optimizer_states"]
    torch.save(content if state is None else {**content, "optimizer_states": state}, "own.ckpt")
    args = small("fit", "--ckpt_path=own.ckpt", "--trainer.max_epochs=2")
    status, line = said(args, capsys)
    assert status == 1
    assert message in line


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
    line = command_said(["sample", "--out=x.npz", "--ckpt_path=alone.ckpt"], capsys)
    assert line.startswith("error: The checkpoint alone.ckpt")
    assert message in line


def test_checkpoints_that_cannot_be_read(alone, capsys):
    args = ["sample", "--out=x.npz", "--ckpt_path=alone.ckpt"]
    alone.write_bytes(alone.read_bytes()[:500])
    assert "alone.ckpt is damaged or no checkpoint" in command_said(args, capsys)
    alone.unlink()
    assert command_said(args, capsys) == "error: The checkpoint alone.ckpt does not exist."
    assert "required: ckpt_path" in command_said(args[:2], capsys, 2)
