"""Bad input to the command line: one clear sentence, and a status that is not 0."""

import shutil
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import torch

from command_lines import small, train
from lightning_flows import DensityModule, cli

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
    "NaN": (
        lambda: arrays(rows("x.npy", np.nan)),
        "1e+150, first in row 17, column 1",
    ),
    "infinite": (
        lambda: arrays(rows("x.npy", np.inf)),
        "1e+150, first in row 17, column 1",
    ),
    "constant": (lambda: arrays(constant()), "redundant columns: 1 is constant"),
    "empty": (lambda: arrays(empty()), "empty.npy is empty"),
    "no file": (lambda: arrays("--data.path=none.csv"), "There is no file none.csv"),
    "shape": (
        lambda: arrays(rows("x.npy"), rows("y.npy", columns=4).replace("path", "test_path")),
        "The test data has 4 columns; the training data has 3.",
    ),
    "latents": (
        lambda: [
            *small("fit", "--model=RectangularModule", "--model.flow=PaddedFlow"),
            "--model.flow.latent_features=2",
        ],
        "latent_features is 2; data has 2 dimensions, so accepted are 1 to 1",
    ),
    "batch of 0": (lambda: small("fit", "--data.batch_size=0"), "batch_size is 0"),
    "batch of 1": (
        lambda: small("fit", "--data.batch_size=1", "--model.flow.actnorm=true"),
        "ActNorm needs a batch of at least 2 samples",
    ),
    "no points": (
        lambda: small("fit", "--data.n_train=0"),
        "Toy: n_train is 0; accepted are positive integers",
    ),
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
    "metric of a callback": (
        lambda: small(
            "fit", "--trainer.callbacks=EarlyStopping", "--trainer.callbacks.monitor=val/los"
        ),
        "Early stopping conditioned on metric `val/los` which is not available",
    ),
    "best of no run": (lambda: small("test", "--ckpt_path=best"), '`.test(ckpt_path="best")` is'),
    "width": (lambda: small("fit", "--model.flow.hidden=[8, -4]"), "RealNVP: hidden is [8, -4]; a"),
    "layers": (
        lambda: small("fit", f"--model.flow.layers={10**20}"),
        f"RealNVP: layers is {10**20}; accepted are integers from 1 to {2**63 - 1}.",
    ),
    "seed": (lambda: small("fit", f"--seed_everything={10**30}"), f"seed_everything: {10**30} is"),
    "seed of data": (lambda: small("fit", f"--data.seed={10**30}"), f"Toy: seed is {10**30}; acc"),
    "learning rate": (
        lambda: small("fit", "--model.optimizer=Adam", "--model.optimizer.lr=-1"),
        "Adam(lr=-1.0) cannot be built: ValueError: Invalid learning rate: -1.0. (LIGHTNING_FLOWS_",
    ),
    "infinite learning rate": (
        lambda: configured("optimizer: {class_path: torch.optim.SGD, init_args: {lr: .inf}}"),
        "Weights are not finite at the end of training",
    ),
    "scheduler": (
        lambda: small("fit", "--model.scheduler=StepLR", "--model.scheduler.step_size=0"),
        "torch.optim.lr_scheduler cannot go on with its options: ZeroDivisionError",
    ),
    "factor": (
        lambda: small(
            "fit",
            "--model.scheduler=torch.optim.lr_scheduler.ReduceLROnPlateau",
            "--model.scheduler.factor=2",
        ),
        "ReduceLROnPlateau(factor=2.0) cannot be built: ValueError: Factor should be < 1.0.",
    ),
    "clipping": (
        lambda: small("fit", "--trainer.gradient_clip_val=-1"),
        "Trainer: gradient_clip_val is -1",
    ),
    "accumulation": (
        lambda: small("fit", "--trainer.accumulate_grad_batches=0"),
        "Trainer: accumulate_grad_batches is 0; accepted are positive integers.",
    ),
    "checkpoint elsewhere": (
        lambda: small("fit", "--checkpoint.filename=../../up-{epoch}"),
        "checkpoint.filename is '../../up-{epoch}'; accepted are names within the folder",
    ),
    "epochs": (lambda: small("fit", "--trainer.max_epochs=-5"), "Trainer: `max_epochs` must be"),
    "nothing to train": (
        lambda: configured("flow: lightning_flows.bases.Normal"),
        "Normal has no parameters to train.",
    ),
    "no family": (
        lambda: configured("flow: RealNVP", model="FlowModule"),
        "FlowModule is only a base of other classes: it has no training_loss.",
    ),
    "no flow": (
        lambda: configured("flow: lightning_flows.flows.InjectiveFlow"),
        "InjectiveFlow is one on a manifold",
    ),
    "null": (lambda: configured("noise: null"), "DensityModule: noise is null; accepted are"),
    "null in a callback": (
        lambda: small(
            "fit", "--trainer.callbacks=SampleGrid", "--trainer.callbacks.every_n_epochs=null"
        ),
        "SampleGrid: every_n_epochs is null; accepted are values of type int.",
    ),
    "network of another kind": (
        lambda: configured(
            "flow: {class_path: FreeFormFlow, init_args: {latent_features: 1, encoder: "
            "lightning_flows.nets.MLP, decoder: lightning_flows.nets.MLPDecoder}}",
            model="FreeFormModule",
        ),
        "MLP",
    ),
    "name that leads elsewhere": (
        lambda: small(
            "fit", "--trainer.callbacks=SampleGrid", "--trainer.callbacks.name=../../escaped"
        ),
        "SampleGrid: name is '../../escaped'; accepted are letters",
    ),
}


def configured(options, model="DensityModule"):
    """Command line of a config whose model has these options, in YAML."""
    flow = "" if "flow:" in options else "flow: {class_path: RealNVP, init_args: {layers: 1}}, "
    Path("own.yaml").write_text(
        f"model: {{class_path: {model}, init_args: {{{flow}{options}}}}}\n"
        "data: {class_path: Toy, init_args: {n_train: 64, n_val: 0}}\n"
    )
    return [option for option in small("fit", "--config=own.yaml") if option[:7] != "--model"]


@pytest.mark.parametrize("name", BAD_INPUT)
def test_bad_input_is_one_sentence(name, capsys):
    args, message = BAD_INPUT[name]
    status, line = said(args(), capsys)
    assert message in line
    assert status == 1


def test_infinity_that_training_reaches_is_no_success(here, capsys):
    """With a guard, too: the weights stay finite, and no loss ever was."""
    optimizer = "{class_path: torch.optim.SGD, init_args: {lr: 1.0e+30}}"
    args = configured(f"noise: 1.0e+38, optimizer: {optimizer}")
    for guard in ([], ["--trainer.callbacks=NonFiniteGuard"]):
        status, line = said([*args, *guard], capsys)
        assert status == 1
        assert "at the end of training: lower the learning rate" in line


def test_a_traceback_is_shown_on_request(monkeypatch, capsys):
    args = small("fit", "--model.optimizer=Adam", "--model.optimizer.lr=-1")
    for value, shown in (("0", False), ("1", True)):
        monkeypatch.setenv("LIGHTNING_FLOWS_TRACEBACK", value)
        with pytest.raises(SystemExit) as stop:
            cli.main(args)
        assert stop.value.code == 1
        written = capsys.readouterr().err
        assert ("Traceback" in written and "torch/optim/adam.py" in written) == shown
        assert written.splitlines()[-1].startswith("error: Adam(lr=-1.0) cannot be built")


def test_batches_of_one_train(here):
    cli.main(small("fit", "--data.batch_size=1", "--data.n_train=4", "--data.n_val=2"))


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


@pytest.mark.parametrize("method", ["training_loss", "evaluate", "on_save_checkpoint"])
def test_our_own_mistakes_keep_their_traceback(method, monkeypatch):
    def broken(*args):
        raise ZeroDivisionError("ours")

    monkeypatch.setattr(DensityModule, method, broken)
    with pytest.raises(ZeroDivisionError, match="ours"):
        cli.main(small("fit"))
