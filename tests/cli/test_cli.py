"""The command line, in process: every config, checkpoints, help, plugins."""

import inspect
import itertools
import re
from importlib.metadata import EntryPoint
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from lightning.pytorch.callbacks import ProgressBar

from command_lines import run_folder, small, train, write_few_data
from lightning_flows import (
    DensityModule,
    FreeFormModule,
    RectangularModule,
    SurjectiveModule,
    cli,
)
from lightning_flows.cli import command_line
from lightning_flows.cli.defaults import PICTURES
from lightning_flows.cli.runs import run_of
from lightning_flows.core.noise import Placed
from lightning_flows.datamodules import Toy

pytestmark = pytest.mark.filterwarnings("ignore")  # of Lightning and jsonargparse

CONFIGS = Path(__file__).parents[2] / "configs"
DEBUG = ["--config", str(CONFIGS / "trainer" / "debug.yaml"), "--trainer.accelerator=cpu"]


@pytest.fixture(autouse=True)
def here(tmp_path, monkeypatch):
    """Runs write below the working folder unless told otherwise."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture(scope="session")
def few_data(tmp_path_factory):
    """Files of MNIST and of tables in their formats, with some images and rows in them."""
    return write_few_data(tmp_path_factory.mktemp("data"))


OVERLAYS = ("tables", "trainer")  # they say how, or on what; another config says the rest
SETS = sorted(path for path in CONFIGS.glob("*/*.yaml") if path.parent.name not in OVERLAYS)
FIRST = {path.stem: path for path in reversed(SETS)}  # of each kind of flow, among the quick tests


def test_every_config_is_short_and_says_what_comes_out():
    for path in CONFIGS.glob("*/*.yaml"):
        lines = path.read_text().splitlines()
        assert len(lines) <= 20, path
        assert max(map(len, lines)) <= 100, path
        head = " ".join(itertools.takewhile(lambda line: line.startswith("#"), lines))
        assert ("Expected: " in head) == (path in SETS), path


def described(path):
    marks = [] if path in FIRST.values() else [pytest.mark.slow]
    return pytest.param(path, id=f"{path.parent.name}-{path.stem}", marks=marks)


@pytest.mark.parametrize("config", [described(path) for path in SETS])
def test_every_config_fits_tests_and_predicts(config, here, few_data):
    (here / "data").symlink_to(few_data)
    data = ["--data.validation=64", "--data.batch_size=16"] * ("mnist" in config.parent.name)
    common = ["--config", str(config), *DEBUG, *data]
    fitted = cli.main(["fit", *common])
    folder = run_folder(here)
    figure = "nll" if fitted.model.exact else "elbo"
    assert fitted.trainer.callback_metrics[f"val/{figure}"].isfinite()
    checkpoints = sorted(path.name for path in (folder / "checkpoints").iterdir())
    assert checkpoints == ["best-000.ckpt", "last.ckpt"]
    assert yaml.safe_load((folder / "config.yaml").read_text())["trainer"]["max_epochs"] == 1
    drawn = {path.parent.name for path in folder.glob("images/*/0001.png")}
    drawing = {callback.name for callback in fitted.trainer.callbacks if hasattr(callback, "name")}
    assert drawn == drawing
    assert "samples" in drawn

    last = folder / "checkpoints" / "last.ckpt"
    common += [
        f"--ckpt_path={last}",
        "--pictures=false",
        "--trainer.callbacks=null",
    ]  # drawn is drawn
    tested = cli.main(["test", *common])
    assert tested.trainer.callback_metrics[f"test/{figure}"].isfinite()
    predicted = cli.main(["predict", *common])
    model = type(fitted.model).load_from_checkpoint(last).eval()
    x = predicted.datamodule.test_dataloader().tensors["x"]
    name = "log_prob" if model.exact else "elbo"
    with np.load(folder / "predictions.npz") as file:
        arrays = dict(file)
    x = x[: len(arrays[name])]
    with torch.no_grad(), Placed(torch.arange(len(x))):
        np.testing.assert_array_equal(arrays[name], model.log_prob(x))
        np.testing.assert_array_equal(arrays["latent"], model.encode(x))


def test_the_overlay_of_a_table_replaces_the_data_of_a_config(here, few_data):
    model, table = CONFIGS / "miniboone" / "rectangular.yaml", CONFIGS / "tables/power_plant.yaml"
    options = [f"--data.path={few_data}/power_plant.npz", "--model.flow.latent_features=2"]
    fitted = cli.main(["fit", f"--config={model}", f"--config={table}", *DEBUG, *options])
    assert fitted.model.event_shape == (5,)
    assert fitted.model.flow.manifold_shape == (2,)
    assert fitted.model.warmup == (25, 50)


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    return train(tmp_path_factory.mktemp("trained"))


def test_predictions_of_all_batches_are_in_the_order_of_the_data(trained, here, capsys):
    _, checkpoint = trained
    done = cli.main(small("predict", "--data.standardize=true", f"--ckpt_path={checkpoint}"))
    path = run_of(checkpoint) / "predictions.npz"
    assert f"Latents and log-densities: {path}\n" in capsys.readouterr().out
    model = DensityModule.load_from_checkpoint(checkpoint)
    x = Toy("moons", n_test=100, seed=done.datamodule.seed).load()["test"]["x"]
    with np.load(path) as arrays:
        assert arrays["latent"].shape == (100, 2)
        np.testing.assert_allclose(arrays["log_prob"], model.log_prob(x).detach(), atol=1e-6)
        np.testing.assert_allclose(arrays["latent"], model.encode(x).detach(), atol=1e-6)


def test_a_checkpoint_reloads_alone_and_to_the_bit(trained):
    done, checkpoint = trained
    again = DensityModule.load_from_checkpoint(checkpoint, weights_only=True)
    x = torch.randn(50, 2)
    assert torch.equal(again.log_prob(x), done.model.log_prob(x))
    assert torch.equal(again.preprocess.mean, done.datamodule.preprocess.mean)
    assert torch.load(checkpoint, weights_only=True)["hyper_parameters"]["event_shape"] == [2]


def test_resuming(trained):
    done, checkpoint = trained
    resumed = cli.main(
        small(
            "fit", "--data.standardize=true", f"--ckpt_path={checkpoint}", "--trainer.max_epochs=3"
        )
    )
    assert resumed.trainer.current_epoch == 3
    assert resumed.trainer.global_step == 3 * done.trainer.global_step


@pytest.mark.parametrize(
    "scheduler",
    [
        {"class_path": "torch.optim.lr_scheduler.CosineAnnealingLR", "init_args": {"T_max": 5}},
        {"class_path": "torch.optim.lr_scheduler.ReduceLROnPlateau", "init_args": {"patience": 0}},
        {
            "class_path": "lightning.pytorch.cli.ReduceLROnPlateau",
            "init_args": {"monitor": "val/nll", "factor": 0.5},
        },
    ],
    ids=["cosine", "plateau", "plateau of Lightning"],
)
def test_optimizer_and_scheduler_from_yaml(scheduler, here):
    optimizer = {"class_path": "torch.optim.AdamW", "init_args": {"lr": 0.01, "fused": True}}
    config = {"model": {"init_args": {"optimizer": optimizer, "scheduler": scheduler}}}
    Path("own.yaml").write_text(yaml.safe_dump(config))
    done = cli.main(small("fit", "--config=own.yaml", "--trainer.max_epochs=2"))
    (made,) = done.trainer.optimizers
    assert isinstance(made, torch.optim.AdamW)
    assert made.defaults["lr"] == 0.01
    (plan,) = done.trainer.lr_scheduler_configs
    name = scheduler["class_path"].rpartition(".")[2]
    assert type(plan.scheduler).__name__ == name
    if name == "ReduceLROnPlateau":
        assert plan.monitor == scheduler["init_args"].get("monitor", "val/loss")
    again = DensityModule.load_from_checkpoint(run_folder(here) / "checkpoints" / "last.ckpt")
    assert type(again.configure_optimizers()["lr_scheduler"]["scheduler"]).__name__ == name


def test_runs_lie_below_the_root_folder_unless_the_logger_says_where(here):
    one_step = ["--trainer.max_steps=1", "--trainer.limit_val_batches=1"]
    cli.main(small("fit", "--trainer.default_root_dir=root", *one_step))
    saved = Path("root/runs/moons-realnvp/version_0/config.yaml")
    assert yaml.safe_load(saved.read_text())["trainer"]["default_root_dir"] == "root"
    cli.main(["fit", f"--config={saved}"])
    assert Path("root/runs/moons-realnvp/version_1/checkpoints/last.ckpt").is_file()
    own = ["--trainer.default_root_dir=other", "--trainer.logger.save_dir=own"]
    cli.main(small("fit", *own, *one_step))
    assert Path("own/moons-realnvp/version_0/checkpoints/last.ckpt").is_file()
    assert not Path("other").exists()
    assert not Path("runs").exists()


def test_the_seed_decides_about_weights_and_nothing_else_does(here):
    options = ["--trainer.fast_dev_run=1"]
    first, again, other = (
        cli.main(small("fit", f"--seed_everything={seed}", *options)).model.state_dict()
        for seed in (1, 1, 2)
    )
    assert all(torch.equal(first[key], again[key]) for key in first)
    assert not all(torch.equal(first[key], other[key]) for key in first)


def test_logging_at_no_step(here):
    options = ["--model=RectangularModule", "--model.flow=PaddedFlow"]
    options += ["--model.flow.latent_features=1", "--trainer.log_every_n_steps=0"]
    done = cli.main(small("fit", *options, "--trainer.fast_dev_run=1"))
    assert done.trainer.global_step == 1


@pytest.mark.parametrize(
    ("options", "bar"),
    [([], "RichProgressBar"), (["--trainer.callbacks=TQDMProgressBar"], "TQDMProgressBar")],
    ids=["ours", "another"],
)
def test_there_is_one_progress_bar(options, bar, here):
    args = [option for option in small("fit", *options) if "progress_bar" not in option]
    done = cli.main([*args, "--trainer.fast_dev_run=1"])
    (found,) = (part for part in done.trainer.callbacks if isinstance(part, ProgressBar))
    assert type(found).__name__ == bar
    assert found.refresh_rate == 1


def test_one_callback_without_a_list(here):
    done = cli.main(small("fit", "--trainer.callbacks=NonFiniteGuard"))
    assert "NonFiniteGuard" in {type(callback).__name__ for callback in done.trainer.callbacks}


JOINT = """
model:
  class_path: FreeFormModule
  init_args:
    flow:
      class_path: FreeFormFlow
      init_args:
        latent_features: 1
        encoder: {class_path: lightning_flows.nets.MLPEncoder, init_args: {hidden: [8]}}
        decoder: {class_path: lightning_flows.nets.MLPDecoder, init_args: {hidden: [8]}}
    volume: {class_path: FreeFormVolume, init_args: {target: probe, probes: 2}}
    reconstruction: {class_path: TargetError, init_args: {target: 0.5}}
    penalties:
      - {class_path: Tikhonov, init_args: {weight: 0.1}}
      - {class_path: Isometry, init_args: {weight: 0.2, probes: 3}}
"""


def test_volume_and_penalties_from_yaml_and_back(here):
    Path("joint.yaml").write_text(JOINT)
    options = [option for option in small("fit") if "--model" not in option]
    done = cli.main([*options, "--config=joint.yaml"])
    path = run_folder(here) / "checkpoints" / "last.ckpt"
    again = FreeFormModule.load_from_checkpoint(path, weights_only=True)
    x = torch.randn(50, 2)
    assert torch.equal(again.log_prob(x), done.model.log_prob(x))
    assert again.beta == done.model.beta != 50
    assert (again.volume.target, again.volume.probes) == ("probe", 2)
    assert [type(part).__name__ for part in again.penalties] == ["Tikhonov", "Isometry"]
    assert [part.weight for part in again.penalties] == [0.1, 0.2]
    assert type(again.flow.encoder).__name__ == "MLPEncoder"


# -- help ------------------------------------------------------------------------------------------


def printed(args, capsys):
    with pytest.raises(SystemExit) as stop:
        cli.main(args)
    assert stop.value.code == 0
    return capsys.readouterr().out


def test_print_config_shows_every_option_and_can_be_read_again(capsys):
    config = CONFIGS / "digits" / "rectangular.yaml"
    out = printed(["fit", "--config", str(config), "--print_config"], capsys)
    shown = yaml.safe_load(out)
    assert set(shown["model"]["init_args"]) >= {
        "flow",
        "volume",
        "reconstruction",
        "warmup",
        "optimizer",
    }
    assert shown["checkpoint"]["monitor"] == "val/loss"
    assert shown["seed_everything"] == 0
    assert shown["pictures"] is True
    assert shown["data"]["init_args"]["validation"] == 200
    Path("again.yaml").write_text(out)
    assert (
        yaml.safe_load(printed(["fit", "--config=again.yaml", "--print_config"], capsys)) == shown
    )


def arguments(family):
    """Names of all arguments; **options are those of the base class."""
    names = set()
    for base in family.__mro__:
        parameters = inspect.signature(base.__init__).parameters.values()
        names |= {p.name for p in parameters if p.kind is not inspect.Parameter.VAR_KEYWORD}
        if all(p.kind is not inspect.Parameter.VAR_KEYWORD for p in parameters):
            return names - {"self"}
    raise AssertionError(family)


@pytest.mark.parametrize(
    ("option", "name", "family"),
    [("model", "DensityModule", DensityModule), ("model", "RectangularModule", RectangularModule),
     ("model", "FreeFormModule", FreeFormModule),
     ("model", "SurjectiveModule", SurjectiveModule),
     ("data", "Toy", Toy)],
)  # fmt: skip
def test_every_option_is_explained(option, name, family, capsys):
    out = printed(["fit", f"--{option}.help={name}"], capsys)
    for argument in arguments(family):
        if argument in ("event_shape", "context_shape"):  # the data decides
            continue
        block = re.search(rf"--{option}\.{argument}[ \n.](.*?)(?=\n  --|\Z)", out, re.DOTALL)
        assert block, argument
        text = re.sub(r"\(.*?(type|default).*", "", block[1], flags=re.DOTALL)
        assert len(re.findall(r"[a-z]{2,}", text)) > 2, argument


def test_help_knows_our_classes_by_name(capsys):
    out = " ".join(printed(["fit", "--help"], capsys).split())
    assert PICTURES in out
    for name in ("DensityModule", "RectangularModule", "Digits", "MNIST", "Toy", "Arrays"):
        assert name in out, name
    flows = " ".join(printed(["fit", "--model.help=DensityModule"], capsys).split())
    for name in ("RealNVP", "MAF", "NeuralSplineFlow", "NICE"):
        assert name in flows, name


# -- plugins ---------------------------------------------------------------------------------------

PLUGIN = '''
from lightning_flows import RealNVP


class PluggedFlow(RealNVP):
    """A flow of a plugin."""
'''


def plugins(monkeypatch, *names):
    found = [EntryPoint(name, name, "lightning_flows.plugins") for name in names]
    monkeypatch.setattr(command_line, "entry_points", lambda group: found)


def test_a_plugin_is_named_shortly(here, monkeypatch):
    (here / "a_plugin_of_flows.py").write_text(PLUGIN)
    monkeypatch.syspath_prepend(str(here))
    plugins(monkeypatch, "a_plugin_of_flows")
    done = cli.main(small("fit", "--model.flow=PluggedFlow"))
    assert type(done.model.flow).__name__ == "PluggedFlow"
    again = DensityModule.load_from_checkpoint(run_folder(here) / "checkpoints" / "last.ckpt")
    assert type(again.flow).__module__ == "a_plugin_of_flows"


def test_a_plugin_that_fails_is_a_warning(monkeypatch):
    plugins(monkeypatch, "no_such_plugin")
    with pytest.warns(UserWarning, match="The plugin no_such_plugin .* is left out: No module"):
        cli.main(small("fit"))


def test_checkpoints_can_be_switched_off(here):
    options = ["--model=DensityModule", "--model.flow=RealNVP", "--model.flow.layers=1"]
    options += ["--data=Toy", "--data.n_train=64", "--data.n_val=32"]
    done = cli.main(["fit", *options, *DEBUG, "--trainer.enable_checkpointing=false"])
    assert done.trainer.checkpoint_callbacks == []
    assert done.trainer.callback_metrics["val/loss"].isfinite()
    assert not [*here.rglob("*.ckpt")]
