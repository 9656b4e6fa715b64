"""What a run has unless its config says otherwise: its name, its logger, guards and pictures."""

from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from jsonargparse import Namespace

from command_lines import CONFIGS, run_folder, small
from lightning_flows import cli
from lightning_flows.callbacks import DensityPlot, FlowCallback, NonFiniteGuard, SampleGrid
from lightning_flows.cli.defaults import drawing_interval

pytestmark = pytest.mark.filterwarnings("ignore")  # of Lightning and jsonargparse

PICTURES = "--pictures=true"


@pytest.fixture
def made(monkeypatch):
    """What a command line makes, without its being run."""
    monkeypatch.setattr(cli.FlowCLI, "_run_subcommand", lambda *_: None)
    return lambda *options: cli.main(["fit", *options])


def files():
    """Configs and data of one's own."""
    Path("mine").mkdir()
    np.savetxt("my.csv", np.random.default_rng(0).normal(size=(60, 2)), delimiter=",")
    np.savetxt("whole.csv", np.random.default_rng(0).integers(0, 9, (60, 2)), delimiter=",")
    model = {"class_path": "DensityModule", "init_args": {"flow": "RealNVP"}}
    Path("mine/first.yaml").write_text(yaml.safe_dump({"model": model}))
    options = {"optimizer": "Adam"}
    Path("mine/options.yaml").write_text(yaml.safe_dump({"model": {"init_args": options}}))


MOONS = ["--model=DensityModule", "--model.flow=RealNVP", "--data=Toy", "--trainer.accelerator=cpu"]
ARRAYS = [option for option in MOONS if "data" not in option] + ["--data=Arrays"]
DEBUG = f"--config={CONFIGS}/trainer/debug.yaml"
LOGGER = "--trainer.logger"
TENSORBOARD = f"{LOGGER}=lightning.pytorch.loggers.TensorBoardLogger"
CSV = "lightning.pytorch.loggers.CSVLogger"
NAMES = {
    "config": ([f"--config={CONFIGS}/moons/maf.yaml"], "runs/moons-maf"),
    "overlay first": ([DEBUG, f"--config={CONFIGS}/moons/maf.yaml"], "runs/moons-maf"),
    "first of two": (
        [f"--config={CONFIGS}/moons/maf.yaml", "--config=mine/first.yaml"],
        "runs/moons-maf",
    ),
    "config of one's own": ([*MOONS, "--config=mine/first.yaml"], "runs/mine-first"),
    "options alone": ([*MOONS, "--config=mine/options.yaml"], "runs/moons-realnvp"),
    "toy": ([*MOONS, "--data.name=rings"], "runs/rings-realnvp"),
    "table": ([*ARRAYS, "--data.path=my.csv"], "runs/my-realnvp"),
    "images": ([*MOONS, "--data=Digits", "--model.flow=NICE"], "runs/digits-nice"),
    "root": ([*MOONS, "--trainer.default_root_dir=root"], "root/runs/moons-realnvp"),
    "own folder": ([*MOONS, f"{LOGGER}.save_dir=own"], "own/moons-realnvp"),
    "own name": ([*MOONS, f"{LOGGER}.name=own"], "runs/own"),
    "the name of Lightning": ([*MOONS, f"{LOGGER}.name=lightning_logs"], "runs/lightning_logs"),
    "another logger": ([*MOONS, f"{LOGGER}={CSV}", f"{LOGGER}.name=own"], "runs/own"),
    "another, without a name": (
        [*MOONS, f"{LOGGER}={CSV}", f"{LOGGER}.name=null"],
        "runs/moons-realnvp",
    ),
}


@pytest.mark.parametrize("case", NAMES)
def test_a_run_is_named_by_its_config_or_by_data_and_flow(case, made):
    files()
    options, folder = NAMES[case]
    logger = made(*options).config["fit"]["trainer"]["logger"].init_args
    assert f"{logger.save_dir}/{logger.name}" == folder


def callbacks_of(done):
    """Callbacks that draw, by name, and guards."""
    drawing = {each.name: each for each in done.trainer.callbacks if isinstance(each, FlowCallback)}
    guards = [each for each in done.trainer.callbacks if isinstance(each, NonFiniteGuard)]
    return drawing, guards


MANIFOLD = ["--model=RectangularModule", "--model.flow=PaddedFlow"]
MANIFOLD += ["--model.flow.latent_features=1", "--data=Toy", "--trainer.accelerator=cpu"]
DRAWN = {
    "plane": (MOONS, {"samples": 1024, "density": 512}),
    "manifold": (MANIFOLD, {"samples": 1024, "reconstructions": 256}),
    "space": ([*MOONS, "--data.name=sphere"], {"samples": 1024}),
    "images": ([*MOONS, "--data=Digits"], {"samples": 64}),
    "whole numbers": (
        [*ARRAYS, "--data.path=whole.csv", "--data.dequantize=true"],
        {"samples": 1024},
    ),
    "none": ([*MOONS, "--pictures=false"], {}),
}


@pytest.mark.parametrize("case", DRAWN)
def test_what_is_drawn_follows_from_model_and_data(case, made):
    files()
    options, points = DRAWN[case]
    drawing, guards = callbacks_of(made(*options, "--trainer.max_epochs=20"))
    assert {name: each.points for name, each in drawing.items()} == points
    assert {each.every_n_epochs for each in drawing.values()} <= {4}
    assert [guard.limit for guard in guards] == [10]


class OwnSamples(SampleGrid):
    """A subclass draws in place of the default."""


class OtherDensity(FlowCallback):
    """Another class takes the folder of a default."""

    def __init__(self) -> None:
        super().__init__("density", points=4)


def test_what_the_user_lists_replaces_the_default(made):
    own = yaml.safe_dump(
        {
            "trainer": {
                "callbacks": [
                    {"class_path": f"{__name__}.OwnSamples", "init_args": {"n": 4}},
                    {"class_path": f"{__name__}.OtherDensity"},
                    {"class_path": "NonFiniteGuard", "init_args": {"limit": 3}},
                ]
            }
        }
    )
    Path("own.yaml").write_text(own)
    for pictures in ("true", "false"):  # what is listed is drawn in any case
        drawing, guards = callbacks_of(made(*MOONS, "--config=own.yaml", f"--pictures={pictures}"))
        assert {name: type(each).__name__ for name, each in drawing.items()} == {
            "samples": "OwnSamples",
            "density": "OtherDensity",
        }
        assert [guard.limit for guard in guards] == [3]


@pytest.mark.parametrize(
    ("options", "epochs"),
    [
        ({"max_epochs": 1}, 1),
        ({"max_epochs": 5}, 1),
        ({"max_epochs": 12}, 3),
        ({"max_epochs": 80}, 16),
        ({"max_epochs": 0}, 1),
        ({"max_epochs": -1}, 10),
        ({"max_epochs": None, "max_steps": -1}, 200),
        ({"max_epochs": None, "max_steps": 500}, 10),
        ({"max_epochs": None, "max_steps": -1, "max_time": "00:01:00:00"}, 10),
    ],
)
def test_about_five_drawings_in_a_run(options, epochs):
    assert drawing_interval(Namespace(options)) == epochs


def test_default_pictures_are_drawn_once_and_the_guard_is_resumed(here):
    options = [PICTURES, "--trainer.limit_train_batches=2", "--trainer.limit_val_batches=1"]
    cli.main(small("fit", *options, "--trainer.max_epochs=6"))
    run = run_folder(here)
    drawn = sorted(str(path.relative_to(run / "images")) for path in run.glob("images/*/*.png"))
    epochs = ("0002", "0004", "0006")
    assert drawn == [f"{name}/{n}.png" for name in ("density", "samples") for n in epochs]
    last = run / "checkpoints" / "last.ckpt"
    content = torch.load(last, weights_only=True)
    key = NonFiniteGuard().state_key
    assert content["callbacks"][key] == {"skipped": 0}
    content["callbacks"][key]["skipped"] = 4
    torch.save(content, last)
    done = cli.main(
        small("fit", *options, "--trainer.max_epochs=7", "--ckpt_path=last", "--pictures=false")
    )
    (guard,) = (each for each in done.trainer.callbacks if isinstance(each, NonFiniteGuard))
    assert guard.skipped == 4
    tested = cli.main(["test", f"--ckpt_path={last}"])  # the config of the run has no pictures now
    assert not any(isinstance(each, DensityPlot) for each in tested.trainer.callbacks)
    cli.main(["test", f"--ckpt_path={last}", PICTURES])
    assert sorted(path.parent.name for path in run.glob("images/*/test.png")) == [
        "density",
        "samples",
    ]
    predicted = cli.main(["predict", f"--ckpt_path={last}", PICTURES])
    assert not any(isinstance(each, FlowCallback) for each in predicted.trainer.callbacks)
