"""Every config fits, tests and predicts; an overlay replaces a part of one."""

import itertools

import numpy as np
import pytest
import torch
import yaml
from lightning.pytorch.cli import LightningCLI

from command_lines import CONFIGS, DEBUG, run_folder, write_few_data
from lightning_flows import cli
from lightning_flows.core.noise import Placed
from lightning_flows.flows import FieldFlow

pytestmark = pytest.mark.filterwarnings("ignore")  # of Lightning and jsonargparse


@pytest.fixture(scope="session")
def few_data(tmp_path_factory):
    """Files of MNIST and of tables in their formats, with some images and rows in them."""
    return write_few_data(tmp_path_factory.mktemp("data"))


OVERLAYS = ("tables", "trainer")  # they say how, or on what; another config says the rest
SETS = sorted(path for path in CONFIGS.glob("*/*.yaml") if path.parent.name not in OVERLAYS)


def module_of(path):
    return yaml.safe_load(path.read_text())["model"]["class_path"]


LONG = ("AssignmentModule", "FlowMatchingModule")  # they solve an equation for every row
FIRST = {  # of each module, among the quick tests
    module_of(path): path for path in reversed(SETS) if module_of(path) not in LONG
}
KINDS = {path.stem: path for path in reversed(SETS)}  # configs of a name differ in their data


def test_every_config_is_short_and_says_what_comes_out():
    for path in CONFIGS.glob("*/*.yaml"):
        lines = path.read_text().splitlines()
        assert len(lines) <= 20, path
        assert max(map(len, lines)) <= 100, path
        head = " ".join(itertools.takewhile(lambda line: line.startswith("#"), lines))
        assert ("Expected: " in head) == (path in SETS), path


def described(path, quick):
    marks = [] if path in quick.values() else [pytest.mark.slow]
    return pytest.param(path, id=f"{path.parent.name}-{path.stem}", marks=marks)


def options_of(config):
    data = ["--data.validation=64", "--data.batch_size=16"] * ("mnist" in config.parent.name)
    return ["--config", str(config), *DEBUG, *data]


@pytest.mark.parametrize("config", [described(path, KINDS) for path in SETS])
def test_every_config_makes_what_it_names(config, here, few_data, monkeypatch):
    (here / "data").symlink_to(few_data)
    monkeypatch.setattr(LightningCLI, "_run_subcommand", lambda *args: None)
    made = cli.main(["fit", *options_of(config)])
    assert made.model.event_shape == made.datamodule.event_shape


@pytest.mark.parametrize("config", [described(path, FIRST) for path in SETS])
def test_every_config_fits_tests_and_predicts(config, here, few_data):
    (here / "data").symlink_to(few_data)
    common = options_of(config)
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
    tensors = predicted.datamodule.test_dataloader().tensors
    name = "log_prob" if model.exact else "elbo"
    with np.load(folder / "predictions.npz") as file:
        arrays = dict(file)
    rows = slice(len(arrays[name]))
    x = tensors["x"][rows]
    context = tensors["context"][rows] if "context" in tensors else None
    with torch.no_grad(), Placed(torch.arange(len(x))):
        # batches of other sizes are rounded in another way, which solvers of equations magnify
        near = {"rtol": 1e-4, "atol": 1e-4} if isinstance(model.flow, FieldFlow) else {"rtol": 0}
        np.testing.assert_allclose(arrays[name], model.log_prob(x, context), **near)
        np.testing.assert_allclose(arrays["latent"], model.encode(x, context), **near)


def test_the_overlay_of_a_table_replaces_the_data_of_a_config(here, few_data):
    model, table = CONFIGS / "miniboone" / "rectangular.yaml", CONFIGS / "tables/power_plant.yaml"
    options = [f"--data.path={few_data}/power_plant.npz", "--model.flow.latent_features=2"]
    fitted = cli.main(["fit", f"--config={model}", f"--config={table}", *DEBUG, *options])
    assert fitted.model.event_shape == (5,)
    assert fitted.model.flow.manifold_shape == (2,)
    assert fitted.model.warmup == (25, 50)
