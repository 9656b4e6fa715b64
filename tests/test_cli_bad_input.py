"""Bad input to the command line: one clear sentence, and a status that is not 0."""

from pathlib import Path

import numpy as np
import pytest

from command_lines import small, train
from lightning_flows import DensityFlow, cli

pytestmark = pytest.mark.filterwarnings("ignore")  # of Lightning and jsonargparse


@pytest.fixture(autouse=True)
def here(tmp_path, monkeypatch):
    """Runs write below the working folder unless told otherwise."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    return train(tmp_path_factory.mktemp("trained"))


def said(args, capsys):
    """Status and standard error of a run that fails, without the notes of Lightning."""
    with pytest.raises(SystemExit) as stop:
        cli.main(args)
    captured = capsys.readouterr()
    lines = [line for line in captured.err.splitlines() if line.startswith("error: ")]
    assert "Traceback" not in captured.err
    assert len(lines) == 1
    assert captured.err.splitlines()[-1] == lines[0]
    return stop.value.code, lines[0]


def arrays(*options):
    return small("fit", "--data=Arrays", *options)


def rows(name, value=None, columns=3):
    x = np.random.default_rng(0).normal(size=(100, columns))
    if value is not None:
        x[17, 1] = value
    np.save(name, x)
    return f"--data.path={name}"


def constant():
    x = np.random.default_rng(0).normal(size=(100, 3))
    x[:, 1] = 4
    np.save("constant.npy", x)
    return "--data.path=constant.npy"


def empty():
    np.save("empty.npy", np.ones((0, 3)))
    return "--data.path=empty.npy"


def below_a_file():
    Path("file").write_text("in the way")
    return "--trainer.logger.save_dir=file/runs"


BAD_INPUT = {
    "NaN": (lambda: arrays(rows("x.npy", np.nan)), "NaN or infinite values, first in row 17"),
    "infinite": (lambda: arrays(rows("x.npy", np.inf)), "NaN or infinite values, first in row 17"),
    "constant": (lambda: arrays(constant()), "redundant columns: 1 is constant"),
    "empty": (lambda: arrays(empty()), "empty.npy is empty"),
    "no file": (lambda: arrays("--data.path=none.csv"), "There is no file none.csv"),
    "shape": (
        lambda: arrays(rows("x.npy"), rows("y.npy", columns=4).replace("path", "test_path")),
        "has events of shape (4,); expected is (3,)",
    ),
    "latents": (
        lambda: [
            *small("fit", "--model=RectangularFlow", "--model.flow=PaddedFlow"),
            "--model.flow.latent_features=2",
        ],
        "latent_features is 2; data has 2 dimensions, so accepted are 1 to 1",
    ),
    "batch of 0": (lambda: small("fit", "--data.batch_size=0"), "batch_size is 0"),
    "batch of 1": (
        lambda: small("fit", "--data.batch_size=1", "--model.flow.actnorm=true"),
        "ActNorm needs a batch of at least 2 samples",
    ),
    "no points": (lambda: small("fit", "--data.n_train=0"), "n_train, n_val and n_test are 0"),
    "no test split": (lambda: small("test", "--data.n_test=0"), "Toy has no test split"),
    "log folder": (lambda: small("fit", below_a_file()), "Not a directory"),
    "root folder": (
        lambda: small(
            "fit", below_a_file(), "--trainer.logger=false", "--trainer.default_root_dir=file"
        ),
        "file",
    ),
    "no checkpoint": (
        lambda: small("test", "--ckpt_path=none.ckpt"),
        "checkpoint none.ckpt does not exist",
    ),
    "monitor": (
        lambda: small("fit", "--checkpoint.monitor=val/los"),
        "could not find the monitored key",
    ),
}


@pytest.mark.parametrize("name", BAD_INPUT)
def test_bad_input_is_one_sentence(name, capsys):
    args, message = BAD_INPUT[name]
    status, line = said(args(), capsys)
    assert message in line
    assert status == 1


def test_batches_of_one_train(here):
    cli.main(small("fit", "--data.batch_size=1", "--data.n_train=4", "--data.n_val=2"))


def test_checkpoints_that_do_not_fit(trained, capsys):
    checkpoint = trained[1]
    content = checkpoint.read_bytes()
    Path("half.ckpt").write_bytes(content[: len(content) // 2])
    status, line = said(small("test", "--ckpt_path=half.ckpt"), capsys)
    assert status == 1
    assert "half.ckpt is damaged or no checkpoint" in line

    other = [f"--ckpt_path={checkpoint}", "--data.standardise=true"]
    wrong = [
        ["--model.flow.layers=4"],
        ["--model.flow.hidden=[9]"],
        ["--model.flow=NeuralSplineFlow"],
        ["--model=RectangularFlow", "--model.flow=PaddedFlow"],
        ["--data.name=sphere"],
        ["--data.standardise=false", "--model.flow.hidden=[9]"],
    ]
    for options in wrong:
        status, line = said(small("test", *other, *options), capsys)
        assert status == 1
        assert "The checkpoint belongs to another architecture than this" in line
    status, line = said(small("fit", *other, "--model.flow.layers=4"), capsys)
    assert "another architecture" in line


UNKNOWN = {
    "option of data": (["--data.batchsize=3"], "'batchsize' is not accepted"),
    "option of a flow": (["--model.flow.layer=3"], "'layer' is not accepted"),
    "option of the trainer": (["--trainer.max_epoch=3"], "--trainer.max_epoch=3"),
    "class of model": (["--model=DensityFlop"], "DensityFlop is unknown or does not fit"),
    "class of flow": (["--model.flow=RealNPV"], "RealNPV is unknown or does not fit"),
    "class of callback": (["--trainer.callbacks=SampleGird"], "SampleGird"),
    "value": (["--data.batch_size=many"], "Got value: many"),
    "choice": (["--data.name=moon"], "'sets']. Got value: moon"),
    "flow of another family": (
        ["--model=RectangularFlow", "--model.flow=MAF"],
        "MAF is unknown or",
    ),
    "config": (["--config=none.yaml"], "none.yaml'"),
}


@pytest.mark.parametrize("name", UNKNOWN)
def test_a_typo_is_one_sentence(name, capsys):
    options, message = UNKNOWN[name]
    status, line = said(small("fit", *options), capsys)
    assert status == 2
    assert message in line
    assert len(line) < 500
    assert "Union" not in line


YAML = {
    "option": ("model: {class_path: DensityFlow, init_args: {flw: MAF}}", "'flw' is not accepted"),
    "class": ("data: {class_path: Toyy}", "Toyy is unknown or does not fit"),
    "nested": (
        "model: {class_path: DensityFlow, init_args: {flow: {class_path: MAF, init_args: {l: 1}}}}",
        "'l' is not accepted",
    ),
    "key": ("modle: {class_path: DensityFlow}", "modle"),
    "callback": ("trainer: {callbacks: [{class_path: Sampl}]}", "Sampl"),
    "callback's option": (
        "trainer: {callbacks: [{class_path: SampleGrid, init_args: {m: 3}}]}",
        "'m' is not accepted",
    ),
    "syntax": ("model: {class_path: [", "expected"),
}


@pytest.mark.parametrize("name", YAML)
def test_a_typo_in_yaml_is_one_sentence(name, capsys):
    content, message = YAML[name]
    Path("typo.yaml").write_text(content)
    status, line = said(small("fit", "--config=typo.yaml"), capsys)
    assert status == 2
    assert message in line
    assert "Union" not in line


def test_our_own_mistakes_keep_their_traceback(monkeypatch):
    def broken(self, x, context):
        raise ZeroDivisionError("ours")

    monkeypatch.setattr(DensityFlow, "training_loss", broken)
    with pytest.raises(ZeroDivisionError, match="ours"):
        cli.main(small("fit"))
