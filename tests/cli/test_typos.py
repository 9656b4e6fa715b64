"""Typos on the command line and in YAML: one sentence, and status 2."""

from itertools import pairwise
from pathlib import Path

import pytest

from command_lines import said, small

pytestmark = pytest.mark.filterwarnings("ignore")  # of Lightning and jsonargparse

UNKNOWN = {
    "option of data": (["--data.batchsize=3"], "'batchsize' is not accepted"),
    "option of a flow": (["--model.flow.layer=3"], "'layer' is not accepted"),
    "option of the trainer": (["--trainer.max_epoch=3"], "--trainer.max_epoch=3"),
    "class of model": (["--model=DensityFlop"], "DensityFlop is unknown or does not fit"),
    "class of flow": (["--model.flow=RealNPV"], "RealNPV is unknown or does not fit"),
    "class of callback": (["--trainer.callbacks=SampleGird"], "SampleGird"),
    "value": (["--data.batch_size=many"], "Got value: many"),
    "choice": (["--data.name=moon"], "'dirichlet']. Got value: moon"),
    "flow of another family": (
        ["--model=RectangularModule", "--model.flow=MAF"],
        "MAF is unknown or",
    ),
    "config": (["--config=none.yaml"], "none.yaml'"),
    "real number of layers": (["--model.flow.layers=1e20"], 'Parser key "layers": Expected a int.'),
    "scheduler": (["--model.scheduler=Adam"], "Adam is unknown or does not fit"),
}


@pytest.mark.parametrize("name", UNKNOWN)
def test_a_typo_is_one_sentence(name, capsys):
    options, message = UNKNOWN[name]
    status, line = said(small("fit", *options), capsys)
    assert status == 2
    assert message in line
    assert len(line) < 500
    assert "Union" not in line


BOMB = "a: &a [1, 1, 1, 1, 1, 1, 1, 1, 1]\n" + "\n".join(
    f"{name}: &{name} [{', '.join(['*' + before] * 9)}]" for before, name in pairwise("abcdefgh")
)
YAML = {
    "option": (
        "model: {class_path: DensityModule, init_args: {flw: MAF}}",
        "'flw' is not accepted",
    ),
    "empty": (
        "model: {class_path: DensityModule, init_args: {flow: MAF, scheduler: {}}}\ndata: Toy",
        "model.init_args.scheduler is an empty mapping; give a class_path",
    ),
    "class": ("data: {class_path: Toyy}", "Toyy is unknown or does not fit"),
    "nested": (
        "model: {class_path: DensityModule, init_args: {flow: {class_path: MAF, "
        "init_args: {l: 1}}}}",
        "'l' is not accepted",
    ),
    "key": ("modle: {class_path: DensityModule}", "modle"),
    "callback": ("trainer: {callbacks: [{class_path: Sampl}]}", "Sampl"),
    "callback's option": (
        "trainer: {callbacks: [{class_path: SampleGrid, init_args: {m: 3}}]}",
        "'m' is not accepted",
    ),
    "syntax": ("model: {class_path: [", "expected"),
    "tab": ("model:\n\tclass_path: DensityModule", "cannot start any token"),
    "number for a group": ("trainer: 3", "trainer is 3; accepted are options by their name."),
    "bytes": (
        bytes(range(256)),
        "The config is no text: 'utf-8' codec can't decode byte 0x80",
    ),
    "anchors": (BOMB, "the text has more than 100000 entries"),
    "anchor of itself": (
        "model: &a {class_path: DensityModule, init_args: *a}",
        "more than 100000",
    ),
    "nesting": ("model: " + "[" * 2000, "nest"),
}


@pytest.mark.parametrize("name", YAML)
def test_a_typo_in_yaml_is_one_sentence(name, capsys):
    content, message = YAML[name]
    Path("typo.yaml").write_bytes(content if isinstance(content, bytes) else content.encode())
    status, line = said(small("fit", "--config=typo.yaml"), capsys)
    assert status == 2
    assert message in line
    assert "Union" not in line
