"""The command line, in process: every config, and what it says about bad input."""

import re
import struct
from importlib.metadata import EntryPoint
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from lightning_flows.datamodules import Toy

from lightning_flows import DensityFlow, RectangularFlow, cli

pytestmark = pytest.mark.filterwarnings("ignore")  # of Lightning and jsonargparse

CONFIGS = Path(__file__).parents[1] / "configs"
DEBUG = ["--config", str(CONFIGS / "trainer" / "debug.yaml"), "--trainer.accelerator=cpu"]
QUIET = [
    "--seed_everything=1",
    "--trainer.accelerator=cpu",
    "--trainer.enable_progress_bar=false",
    "--trainer.enable_model_summary=false",
    "--trainer.max_steps=2",
]


@pytest.fixture(autouse=True)
def here(tmp_path, monkeypatch):
    """Runs write below the working folder unless told otherwise."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture(scope="session")
def few_images(tmp_path_factory):
    """Files in MNIST's format with some images in them."""
    folder = tmp_path_factory.mktemp("data")
    raw = folder / "MNIST" / "raw"
    raw.mkdir(parents=True)
    random = np.random.default_rng(0)
    for name, n in (("train", 300), ("t10k", 64)):
        images = random.integers(0, 256, (n, 28, 28), dtype=np.uint8)
        header = struct.pack(">IIII", 0x803, n, 28, 28)
        (raw / f"{name}-images-idx3-ubyte").write_bytes(header + images.tobytes())
        labels = random.integers(0, 10, n, dtype=np.uint8)
        header = struct.pack(">II", 0x801, n)
        (raw / f"{name}-labels-idx1-ubyte").write_bytes(header + labels.tobytes())
    return folder


def run_folder(here, version=0):
    (folder,) = here.glob(f"runs/*/version_{version}")
    return folder


SETS = sorted(path for path in CONFIGS.glob("*/*.yaml") if path.parent.name != "trainer")


@pytest.mark.parametrize("config", SETS, ids=[f"{p.parent.name}-{p.stem}" for p in SETS])
def test_every_config_fits_tests_and_predicts(config, here, few_images):
    data = (
        [f"--data.data_dir={few_images}", "--data.validation=64"] if "mnist" in str(config) else []
    )
    common = ["--config", str(config), *DEBUG, *data]
    fitted = cli.main(["fit", *common])
    folder = run_folder(here)
    assert fitted.trainer.callback_metrics["val/nll"].isfinite()
    checkpoints = sorted(path.name for path in (folder / "checkpoints").iterdir())
    assert checkpoints == ["best-000.ckpt", "last.ckpt"]
    assert yaml.safe_load((folder / "config.yaml").read_text())["trainer"]["max_epochs"] == 1
    drawn = {path.parent.name for path in folder.glob("images/*/0001.png")}
    drawing = {callback.name for callback in fitted.trainer.callbacks if hasattr(callback, "name")}
    assert drawn == drawing
    assert "samples" in drawn

    last = folder / "checkpoints" / "last.ckpt"
    common += [f"--ckpt_path={last}", "--trainer.callbacks=null"]  # drawn is drawn
    tested = cli.main(["test", *common])
    assert tested.trainer.callback_metrics["test/nll"].isfinite()
    predicted = cli.main(["predict", *common])
    model = type(fitted.model).load_from_checkpoint(last).eval()
    x = predicted.datamodule.test_dataloader().tensors[0]
    with np.load(run_folder(here, 2) / "predictions.npz") as arrays, torch.no_grad():
        x = x[: len(arrays["log_prob"])]
        np.testing.assert_array_equal(arrays["log_prob"], model.log_prob(x))
        np.testing.assert_array_equal(arrays["latent"], model.encode(x))


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A run of the moons: its CLI object and its last checkpoint."""
    folder = tmp_path_factory.mktemp("trained")
    done = cli.main(
        [*small("fit"), "--data.standardise=true", f"--trainer.logger.save_dir={folder}/runs"]
    )
    return done, run_folder(folder) / "checkpoints" / "last.ckpt"


def small(subcommand, *options):
    """A small model of the moons."""
    return [
        subcommand,
        "--model=DensityFlow",
        "--model.flow=RealNVP",
        "--model.flow.layers=2",
        "--model.flow.hidden=[8]",
        "--data=Toy",
        "--data.n_train=200",
        "--data.n_test=100",
        "--data.batch_size=32",
        *QUIET,
        "--trainer.max_epochs=1",
        "--trainer.max_steps=-1",
        *options,
    ]


def test_predictions_of_all_batches_are_in_the_order_of_the_data(trained, here, capsys):
    _, checkpoint = trained
    done = cli.main(small("predict", "--data.standardise=true", f"--ckpt_path={checkpoint}"))
    path = run_folder(here) / "predictions.npz"
    assert f"Latents and log-densities: {path.relative_to(here)}\n" in capsys.readouterr().out
    model = DensityFlow.load_from_checkpoint(checkpoint)
    x = Toy("moons", n_test=100, seed=done.datamodule.seed).load()["test"][0]
    with np.load(path) as arrays:
        assert arrays["latent"].shape == (100, 2)
        np.testing.assert_allclose(arrays["log_prob"], model.log_prob(x).detach(), atol=1e-6)
        np.testing.assert_allclose(arrays["latent"], model.encode(x).detach(), atol=1e-6)


def test_a_checkpoint_reloads_alone_and_to_the_bit(trained):
    done, checkpoint = trained
    again = DensityFlow.load_from_checkpoint(checkpoint, weights_only=True)
    x = torch.randn(50, 2)
    assert torch.equal(again.log_prob(x), done.model.log_prob(x))
    assert torch.equal(again.preprocess.mean, done.datamodule.preprocess.mean)
    assert torch.load(checkpoint, weights_only=True)["hyper_parameters"]["event_shape"] == [2]


def test_resuming(trained):
    done, checkpoint = trained
    resumed = cli.main(
        small(
            "fit", "--data.standardise=true", f"--ckpt_path={checkpoint}", "--trainer.max_epochs=3"
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
    again = DensityFlow.load_from_checkpoint(run_folder(here) / "checkpoints" / "last.ckpt")
    assert type(again.configure_optimizers()["lr_scheduler"]["scheduler"]).__name__ == name


def test_one_callback_without_a_list(here):
    done = cli.main(small("fit", "--trainer.callbacks=NonFiniteGuard"))
    assert "NonFiniteGuard" in {type(callback).__name__ for callback in done.trainer.callbacks}


# -- what it says ----------------------------------------------------------------------------------


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
    "constant": (lambda: arrays(constant()), "constant columns: 1"),
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
    "choice": (["--data.name=moon"], "'von_mises_circle']. Got value: moon"),
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
    assert set(shown["model"]["init_args"]) >= {"flow", "volume", "beta", "warmup", "optimizer"}
    assert shown["checkpoint"]["monitor"] == "val/loss"
    assert shown["data"]["init_args"]["validation"] == 200
    Path("again.yaml").write_text(out)
    assert (
        yaml.safe_load(printed(["fit", "--config=again.yaml", "--print_config"], capsys)) == shown
    )


@pytest.mark.parametrize(
    ("option", "name", "family"),
    [("model", "DensityFlow", DensityFlow), ("model", "RectangularFlow", RectangularFlow),
     ("data", "Toy", Toy)],
)  # fmt: skip
def test_every_option_is_explained(option, name, family, capsys):
    import inspect

    out = printed(["fit", f"--{option}.help={name}"], capsys)
    for argument in inspect.signature(family).parameters:
        if argument in ("event_shape", "context_shape"):  # the data decides
            continue
        block = re.search(rf"--{option}\.{argument}[ \n.](.*?)(?=\n  --|\Z)", out, re.DOTALL)
        assert block, argument
        text = re.sub(r"\(.*?(type|default).*", "", block[1], flags=re.DOTALL)
        assert len(re.findall(r"[a-z]{2,}", text)) > 2, argument


def test_help_knows_our_classes_by_name(capsys):
    out = " ".join(printed(["fit", "--help"], capsys).split())
    for name in ("DensityFlow", "RectangularFlow", "Digits", "MNIST", "Toy", "Arrays"):
        assert name in out, name
    flows = " ".join(printed(["fit", "--model.help=DensityFlow"], capsys).split())
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
    monkeypatch.setattr(cli, "entry_points", lambda group: found)


def test_a_plugin_is_named_shortly(here, monkeypatch):
    (here / "a_plugin_of_flows.py").write_text(PLUGIN)
    monkeypatch.syspath_prepend(str(here))
    plugins(monkeypatch, "a_plugin_of_flows")
    done = cli.main(small("fit", "--model.flow=PluggedFlow"))
    assert type(done.model.flow).__name__ == "PluggedFlow"
    again = DensityFlow.load_from_checkpoint(run_folder(here) / "checkpoints" / "last.ckpt")
    assert type(again.flow).__module__ == "a_plugin_of_flows"


def test_a_plugin_that_fails_is_a_warning(monkeypatch):
    plugins(monkeypatch, "no_such_plugin")
    with pytest.warns(UserWarning, match="The plugin no_such_plugin .* is left out: No module"):
        cli.main(small("fit"))
