"""Bad input to the command line: one clear sentence, and a status that is not 0."""

from pathlib import Path

import numpy as np
import pytest

from command_lines import said, small
from lightning_flows import DensityModule, cli

pytestmark = pytest.mark.filterwarnings("ignore")  # of Lightning and jsonargparse


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


@pytest.mark.parametrize("method", ["training_loss", "evaluate", "on_save_checkpoint"])
def test_our_own_mistakes_keep_their_traceback(method, monkeypatch):
    def broken(*args):
        raise ZeroDivisionError("ours")

    monkeypatch.setattr(DensityModule, method, broken)
    with pytest.raises(ZeroDivisionError, match="ours"):
        cli.main(small("fit"))
