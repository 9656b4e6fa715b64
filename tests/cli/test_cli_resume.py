"""Going on with a run from the command line, what evaluation leaves as it was, and what is said."""

import shutil
import warnings
from pathlib import Path

import pytest
import torch
import yaml
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from command_lines import run_folder, small
from lightning_flows import cli

pytestmark = pytest.mark.filterwarnings("ignore")  # of Lightning and jsonargparse

ADAM = ["--model.optimizer=Adam", "--model.optimizer.lr=0.01"]
RISING = [*ADAM, "--model.optimizer.maximize=true"]  # the first epoch stays the best
DRAWS = ["--trainer.callbacks=SampleGrid", "--trainer.callbacks.n=4"]
DEPRECATED = (DeprecationWarning, FutureWarning)  # of libraries, which Python or `prepare` hides
EVERY_STEP = "--trainer.log_every_n_steps=1"


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """Folder with a finished run of two epochs, drawn and logged at every step."""
    folder = tmp_path_factory.mktemp("finished")
    with pytest.MonkeyPatch.context() as patch, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        patch.chdir(folder)
        cli.main(small("fit", *ADAM, *DRAWS, EVERY_STEP, "--trainer.max_epochs=2"))
    return folder


@pytest.fixture
def run(finished, here):
    """A copy of its own of the finished run."""
    shutil.copytree(finished / "runs", here / "runs")
    return run_folder(here)


def series(run):
    """Steps of everything that TensorBoard shows of a run, by name."""
    shown = EventAccumulator(str(run), size_guidance={"scalars": 0, "images": 0}).Reload()
    tags = shown.Tags()
    read = {**dict.fromkeys(tags["scalars"], shown.Scalars)}
    read |= dict.fromkeys(tags["images"], shown.Images)
    return {tag: [event.step for event in events(tag)] for tag, events in read.items()}


def checkpoints(run):
    return sorted(path.name for path in (run / "checkpoints").iterdir())


def step_of(path):
    return torch.load(path, weights_only=True)["global_step"]


def longer(*options, epochs=3):
    return small("fit", *ADAM, *DRAWS, EVERY_STEP, f"--trainer.max_epochs={epochs}", *options)


def test_a_run_goes_on_in_its_folder_without_a_word_of_warning(run, here, capsys):
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        done = cli.main(longer("--ckpt_path=last"))
    shown = [each for each in caught if not issubclass(each.category, DEPRECATED)]
    assert [str(each.message) for each in shown if "workers" not in str(each.message)] == []
    assert [path.name for path in run.parent.iterdir()] == ["version_0"]
    assert (done.trainer.current_epoch, done.trainer.global_step) == (3, 21)
    best = Path(done.trainer.checkpoint_callback.best_model_path)
    assert best == run / "checkpoints" / "best-002.ckpt"  # in place of that of an earlier epoch
    assert checkpoints(run) == ["best-002.ckpt", "last.ckpt", "previous.ckpt"]
    assert yaml.safe_load((run / "config.yaml").read_text())["trainer"]["max_epochs"] == 3
    steps = series(run)
    assert steps["train/loss"] == [*range(21)]
    assert steps["val/loss"] == steps["val/samples"] == [6, 13, 20]
    where = "runs/moons-realnvp/version_0"
    assert capsys.readouterr().out.splitlines()[-4:] == [
        f"run: {where}",
        f"best checkpoint: {where}/checkpoints/best-002.ckpt",
        f"last checkpoint: {where}/checkpoints/last.ckpt",
        f"pictures: {where}/images",
    ]


def test_what_came_after_an_older_checkpoint_is_shown_once(run):
    older = run / "checkpoints" / "previous.ckpt"
    assert step_of(older) == 7 or pytest.fail("the middle of the run is what is meant")
    cli.main(longer(f"--ckpt_path={older}"))
    steps = series(run)
    assert steps["train/loss"] == [*range(21)]
    assert steps["val/loss"] == steps["val/samples"] == [6, 13, 20]


def test_the_best_of_an_earlier_epoch_is_remembered_and_kept(here):
    rising = small("fit", *RISING, "--trainer.max_epochs=2")
    first = cli.main(rising).trainer.checkpoint_callback
    best, score = first.best_model_path, first.best_model_score
    assert best.endswith("best-000.ckpt")
    again = cli.main([*rising, "--ckpt_path=last", "--trainer.max_epochs=3"])
    assert again.trainer.checkpoint_callback.best_model_path == str(here / best)
    assert again.trainer.checkpoint_callback.best_model_score == score
    assert step_of(best) == 7


def test_last_without_a_run_is_a_sentence(here, capsys):
    with pytest.raises(SystemExit) as stopped:
        cli.main(small("fit", "--ckpt_path=last"))
    assert stopped.value.code == 1
    assert capsys.readouterr().err.splitlines()[-1] == (
        "error: ckpt_path is 'last', and there is no last.ckpt below runs/moons-realnvp; leave "
        "it out to start a run, or name a file."
    )
    assert [*here.iterdir()] == []


def test_a_broken_last_checkpoint_gives_way_to_the_one_before(run):
    last = run / "checkpoints" / "last.ckpt"
    last.write_bytes(last.read_bytes()[:-1000])
    with pytest.warns(UserWarning, match=r"last.ckpt is damaged .* The one before it is used"):
        done = cli.main(longer("--ckpt_path=last"))
    assert done.trainer.global_step == step_of(last) == 21


@pytest.mark.parametrize("subcommand", ["validate", "test", "predict"])
def test_a_checkpoint_alone_is_evaluated_where_it_lies(subcommand, run, here):
    last = run / "checkpoints" / "last.ckpt"
    before = {path: path.read_bytes() for path in (run / "config.yaml", last)}
    done = cli.main([subcommand, f"--ckpt_path={last}"])
    assert (len(done.datamodule.load()["train"]["x"]), done.model.hparams.flow) == (
        200,
        yaml.safe_load(before[run / "config.yaml"])["model"]["init_args"]["flow"],
    )
    assert {path: path.read_bytes() for path in before} == before
    assert [path.name for path in run.parent.iterdir()] == ["version_0"]
    left = {"validate": "images/samples/validate.png", "test": "images/samples/test.png"}
    assert (run / left.get(subcommand, "predictions.npz")).is_file()
    assert [path.name for path in here.iterdir()] == ["runs"]


def test_without_a_logger_everything_lies_in_a_run_of_its_own(here):
    config = here / "config.yaml"
    config.write_text(yaml.safe_dump({"trainer": {"max_epochs": 1}}))
    before = config.read_bytes()
    plain = [*small("fit", *DRAWS), f"--config={config}", "--trainer.logger=false"]
    for number in (0, 1):
        cli.main(plain)
        run = here / "runs" / f"run_{number}"
        assert sorted(path.name for path in run.iterdir()) == [
            "checkpoints",
            "config.yaml",
            "images",
        ]
    assert config.read_bytes() == before
    assert sorted(path.name for path in here.iterdir()) == ["config.yaml", "runs"]
    cli.main([*plain, "--trainer.max_epochs=2", "--ckpt_path=last"])
    assert step_of(run / "checkpoints" / "last.ckpt") == 14
    assert sorted(path.name for path in (here / "runs").iterdir()) == ["run_0", "run_1"]


@pytest.mark.parametrize("logger", [[], ["--trainer.logger=false"]], ids=["logger", "none"])
def test_a_trial_run_leaves_nothing(logger, here):
    cli.main(small("fit", *DRAWS, "--trainer.fast_dev_run=true", *logger))
    assert [*here.rglob("*")] == []


def test_a_run_without_checkpoints_writes_none(here):
    cli.main(small("fit", "--trainer.enable_checkpointing=false"))
    assert [*here.rglob("*.ckpt")] == []
