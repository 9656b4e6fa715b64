"""Files of strangers: nothing that one of them names is imported, executed or written."""

import http.server
import io
import os
import pickle
import subprocess
import sys
import threading
import zipfile
from contextlib import suppress
from functools import partial
from pathlib import Path

import lightning.pytorch as pl
import numpy as np
import pytest
import torch
import yaml

import lightning_flows
from lightning_flows import DensityModule, RealNVP, cli
from lightning_flows.cli import commands, scenes
from lightning_flows.cli.beside import guarded
from lightning_flows.core import trusted
from lightning_flows.core.errors import CheckpointError, ConfigError, DataError, FlowError
from lightning_flows.core.recipe import build_factory, build_part
from lightning_flows.datamodules import Arrays, Toy

pytestmark = pytest.mark.filterwarnings("ignore")  # of Lightning and jsonargparse

SMALL = partial(RealNVP, layers=1, hidden=(4,))
EVIL = """
from pathlib import Path
import torch
from lightning_flows import DensityModule, RealNVP
from lightning_flows.datamodules import Toy

Path("executed").touch()

class Flow(RealNVP):
    pass

class Family(DensityModule):
    pass

class Data(Toy):
    pass

def make(*args, **options):
    Path("executed").touch()
"""
MODULES = (
    "evil_module", "lightning_flows_evil", "torch_evil", "lightning_flows/evil", "torch/evil",
    "lightning/evil", "evil_package/part",
)  # fmt: skip
NAMES = [module.replace("/", ".") for module in MODULES]


@pytest.fixture(autouse=True)
def here(tmp_path, monkeypatch):
    """A folder with modules that write a file when they are imported, first on the path."""
    for module in MODULES:
        path = tmp_path / f"{module}.py"
        path.parent.mkdir(exist_ok=True)
        path.write_text(EVIL)
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend("")
    monkeypatch.setattr(trusted, "_trusted", set())
    yield tmp_path
    strange = {*NAMES, "evil_package", "antigravity", "this"}
    for name in strange & set(sys.modules):
        del sys.modules[name]


@pytest.fixture(scope="module")
def content():
    """What a small checkpoint holds."""
    model = DensityModule(SMALL, 2)
    trainer = pl.Trainer(accelerator="cpu", logger=False, enable_checkpointing=False)
    trainer.strategy.connect(model)
    stored = io.BytesIO()
    trainer.save_checkpoint("/dev/null")
    torch.save(trainer._checkpoint_connector.dump_checkpoint(weights_only=True), stored)
    return stored.getvalue()


def checkpoint(content, change=lambda content: None, path="run/x.ckpt"):
    """A checkpoint with something changed in it."""
    read = torch.load(io.BytesIO(content), weights_only=True)
    change(read)
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    torch.save(read, path)
    return path


def unharmed():
    """Whether nothing has run."""
    assert not Path("executed").exists()
    assert not {*NAMES, "antigravity", "this"} & set(sys.modules)


FOREIGN = [
    *(f"{name}.Flow" for name in NAMES[:3]), "evil_package.part.Flow", "antigravity.Flow",
    "this.s", "idlelib.idle.Flow", "torch.testing._internal.common_utils.TestCase",
    "torch.utils.bottleneck.__main__.Flow", "lightning_flows.__main__.run",
]  # fmt: skip
MISSING = [
    "lightning_flows.evil.Flow", "torch.evil.Flow", "lightning.evil.Flow", "torch.os.system",
    "lightning_flows.core.recipe.sys.modules", "lightning_flows.cli.command_line.os.path.join",
    "builtins.nothing",
]  # fmt: skip
NO_PART = [
    "os.system", "builtins.eval", "builtins.object", "subprocess.Popen", "pickle.Unpickler",
    "lightning_flows.modules.load", "lightning_flows.recipe.sys", "torch.hub.load", "torch.load",
    "torch.utils.data.DataLoader", "lightning.pytorch.Trainer", "torchmetrics.MeanMetric",
    "lightning_flows.recipe.partial", "lightning_flows.RealNVP.__init__",
]  # fmt: skip


@pytest.mark.parametrize("path", [*FOREIGN, *MISSING, *NO_PART])
def test_a_recipe_names_parts_of_known_modules_alone(path):
    message = (
        "neither ours nor of a plugin.*--trust"
        if path in FOREIGN
        else "cannot be imported|neither ours|is no "
    )
    recipe = {"class_path": path, "init_args": {"args": ["touch", "executed"]}}
    nested = {
        "class_path": "lightning_flows.RealNVP",
        "init_args": {"event_shape": 2, "base": [recipe]},
    }
    for build in (build_part, build_factory):
        for each in (recipe, nested):
            with pytest.raises(ConfigError, match=message):
                build(each)
    unharmed()


@pytest.mark.parametrize(
    "path", [0, None, "", "x", ".x", "x.", "a..b", "torch.nn.Linear ", "torch nn", "a/b.c", "é.!"]
)
def test_what_is_no_import_path_is_refused(path):
    with pytest.raises(ConfigError, match=r"class_path .* accepted are|cannot be imported"):
        build_part({"class_path": path})


@pytest.mark.parametrize("kind", [list, dict, "recipe"])
def test_nests_are_not_followed_to_the_end(kind):
    value = []
    for _ in range(10_000):
        if kind == "recipe":
            value = {"class_path": "lightning_flows.RealNVP", "init_args": {"event_shape": value}}
        else:
            value = [value] if kind is list else {"x": value}
    with pytest.raises(ConfigError, match="nested too deeply"):
        build_part({"class_path": "lightning_flows.RealNVP", "init_args": {"event_shape": value}})


SLOTS = {
    "family": lambda c, r: c.update(family=r),
    "flow": lambda c, r: c["hyper_parameters"].update(flow=r),
    "made flow": lambda c, r: c["hyper_parameters"].update(flow={**r, "factory": False}),
    "optimizer": lambda c, r: c["hyper_parameters"].update(optimizer=r),
    "scheduler": lambda c, r: c["hyper_parameters"].update(scheduler=r),
    "preprocess": lambda c, r: c.update(preprocess=r),
    "instantiator": lambda c, r: c["hyper_parameters"].update(_instantiator=r["class_path"]),
}


@pytest.mark.parametrize("path", ["evil_module.Flow", "subprocess.Popen", "torch.nn.Linear"])
@pytest.mark.parametrize("slot", SLOTS)
def test_every_slot_of_a_checkpoint_takes_its_kind_alone(slot, path, content, capsys):
    recipe = {"class_path": path, "init_args": {}}
    file = checkpoint(content, lambda c: SLOTS[slot](c, recipe))
    with pytest.raises((FlowError, ValueError, TypeError)):
        lightning_flows.load(file)
    with pytest.raises(SystemExit):
        commands.main(["sample", f"--ckpt_path={file}", "--out=x.npz"])
    assert len(capsys.readouterr().err.splitlines()) == 1
    assert not Path("x.npz").exists()
    unharmed()


def test_a_module_is_trusted_by_name(content):
    def change(content):
        content["family"]["class_path"] = "evil_module.Family"
        content["hyper_parameters"]["flow"]["class_path"] = "evil_package.part.Flow"

    file = checkpoint(content, change)
    with pytest.raises(ConfigError, match="--trust evil_module, in Python by"):
        lightning_flows.load(file)
    with pytest.raises(ConfigError, match=r"--trust evil_package\.part,"):
        lightning_flows.load(file, trust=["evil_module"])
    with pytest.raises(ConfigError, match="accepted are names of modules"):
        lightning_flows.trust("evil module")
    trusted._trusted.clear()
    for name in NAMES:
        sys.modules.pop(name, None)
    options = ["--trust=evil_module", "--trust", "evil_package"]
    commands.main(["sample", f"--ckpt_path={file}", "--out=x.npz", "-n=1", *options])
    assert type(lightning_flows.load(file)).__name__ == "Family"  # imported by now


def test_a_plugin_is_trusted(content, monkeypatch):
    class Plugin:
        module = "evil_package.sub"

    file = checkpoint(content, lambda c: c["family"].update(class_path="evil_package.part.Family"))
    monkeypatch.setattr(trusted, "entry_points", lambda group: [Plugin] if group else [])
    assert type(lightning_flows.load(file)).__module__ == "evil_package.part"


@pytest.mark.parametrize("file", ["torchvision.py", "torchvision/__init__.py"])
def test_a_dependency_that_lies_in_the_current_folder_is_another(file, monkeypatch):
    for name in [name for name in sys.modules if name.partition(".")[0] == "torchvision"]:
        monkeypatch.delitem(sys.modules, name)
    Path(file).parent.mkdir(exist_ok=True)
    Path(file).write_text(EVIL)
    with pytest.raises(ConfigError, match="neither ours"):
        build_part({"class_path": "torchvision.Flow", "init_args": {"event_shape": 2}})
    unharmed()


# -- pickles ---------------------------------------------------------------------------------------


class Payload:
    """Runs something when it is unpickled."""

    def __init__(self, call, *args):
        self.call = call, args

    def __reduce__(self):
        return self.call


PAYLOADS = {
    "os.system": Payload(os.system, "touch executed"),
    "open": Payload(open, "executed", "w"),
    "Popen": Payload(subprocess.Popen, ["touch", "executed"]),
    "eval": Payload(eval, "open('executed', 'w')"),
    "torch.load": Payload(torch.load, "executed"),
}


def pickled(payload, form):
    value = {"state_dict": {}, "x": PAYLOADS[payload]}
    if form == "plain":
        return pickle.dumps(value, protocol=2)
    stored = io.BytesIO()
    torch.save(value, stored, _use_new_zipfile_serialization=form == "zip")
    return stored.getvalue()


@pytest.mark.parametrize("form", ["plain", "legacy", "zip"])
@pytest.mark.parametrize("payload", PAYLOADS)
def test_pickles_are_not_executed(payload, form):
    Path("x.ckpt").write_bytes(pickled(payload, form))
    reads = [
        lightning_flows.load,
        DensityModule.load_from_checkpoint,
        lambda path: DensityModule.load_from_checkpoint(io.BytesIO(Path(path).read_bytes())),
        lambda path: quiet().test(DensityModule(SMALL, 2), toy(), ckpt_path=path),
    ]
    for read in reads[: 3 if form != "zip" or payload != "eval" else 4]:
        with pytest.raises(Exception, match=r"Python objects|eights_only|damaged"):
            read("x.ckpt")
    for read in reads[:3]:
        with pytest.raises(CheckpointError) as caught:
            read("x.ckpt")
        assert "weights_only" not in str(caught.value)
    with pytest.raises(CheckpointError, match="which would let the checkpoint run code"):
        DensityModule.load_from_checkpoint("x.ckpt", weights_only=False)
    unharmed()


def test_members_of_an_archive_that_lead_out_of_it_are_not_written(content):
    path = Path(checkpoint(content))
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr("../executed", "x")
        archive.writestr("/tmp/../executed", "x")
    with suppress(CheckpointError):
        lightning_flows.load(path)
    assert not Path("run/../executed").exists()
    unharmed()


def quiet():
    return pl.Trainer(
        accelerator="cpu", logger=False, enable_checkpointing=False, enable_progress_bar=False,
        enable_model_summary=False, max_steps=1,
    )  # fmt: skip


def toy():
    return Toy("moons", n_train=32, n_val=32, n_test=32)


@pytest.fixture
def address(here, monkeypatch):
    """Serves the present folder."""
    monkeypatch.setenv("TORCH_HOME", str(here / "hub"))

    class Quiet(http.server.SimpleHTTPRequestHandler):
        def log_message(self, *args):
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=here))
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    thread.join()
    server.server_close()


def test_remote_checkpoints_are_read_as_plain_data(address, content, here, capsys):
    Path("bad.ckpt").write_bytes(pickled("open", "zip"))
    bad, good = f"{address}/bad.ckpt", f"{address}/run/good.ckpt"
    checkpoint(content, path="run/good.ckpt")
    model = DensityModule(SMALL, 2)
    reads = [
        lightning_flows.load,
        DensityModule.load_from_checkpoint,
        lambda path: quiet().fit(model, toy(), ckpt_path=path),
        lambda path: quiet().validate(model, toy(), ckpt_path=path),
        lambda path: quiet().test(model, toy(), ckpt_path=path),
        lambda path: quiet().predict(model, toy(), ckpt_path=path),
    ]
    for read in reads:
        with pytest.raises(CheckpointError, match="holds Python objects") as caught:
            read(bad)
        assert "weights_only" not in str(caught.value)
    args = ["--model=DensityModule", "--model.flow=RealNVP", "--data=Toy", "--trainer.logger=false"]
    for command in ("fit", "test"):
        with pytest.raises(SystemExit):
            cli.main([command, *args, f"--ckpt_path={bad}"])
        assert "holds Python objects" in capsys.readouterr().err
    assert lightning_flows.load(good).event_shape == (2,)
    unharmed()


# -- the config beside a checkpoint ----------------------------------------------------------------


def beside(content, config):
    """A checkpoint with a config in its folder."""
    file = checkpoint(content)
    Path("run/config.yaml").write_text(config if isinstance(config, str) else yaml.dump(config))
    return file


DATA = {
    "class": "data: {class_path: evil_module.Data}",
    "text": "data: evil_module.Data",
    "namespace": "data: {class_path: lightning_flows.evil.Data}",
    "of another kind": "data: {class_path: subprocess.Popen, init_args: {args: [touch, executed]}}",
    "no class": "data: {class_path: os.system}",
    "browser": "data: {class_path: antigravity.Flow}",
    "option": "data: {class_path: Toy, init_args: {name: {class_path: evil_module.make}}}",
    "file": "data: other.yaml",
    "text of YAML": "data: '{class_path: evil_module.Data}'",
    "anchor": "x: &x {class_path: evil_module.Data}\ndata: *x",
    "tag": "data: !!python/object/apply:os.system ['touch executed']",
    "tag of a module": "data: !!python/module:evil_module",
    "tag of a name": "data: !!python/name:evil_module.make",
    "laughs": "a: &a [x, x]\n"
    + "".join(f"{chr(98 + i)}: &{chr(98 + i)} [{', '.join(f'*{chr(97 + i)}' for _ in range(9))}]\n"
              for i in range(9)) + "data: *j",
    "nest": "data: " + "[" * 10_000,
    "list": "[1, 2]",
    "bytes": "\0",
}  # fmt: skip


@pytest.mark.parametrize("name", DATA)
def test_the_data_of_a_config_beside_a_checkpoint(name, content, capsys):
    Path("other.yaml").write_text("class_path: evil_module.Data")
    file = beside(content, DATA[name])
    with pytest.raises(SystemExit):
        commands.main(["components", f"--ckpt_path={file}", "--out=out"])
    assert capsys.readouterr().err.count("error: ") == 1
    assert not Path("out").exists()
    unharmed()


FLOW = {"class_path": "RealNVP", "init_args": {"layers": 1, "hidden": [4]}}
WHOLE = {
    "model": {"class_path": "DensityModule", "init_args": {"flow": FLOW}},
    "data": {"class_path": "Toy", "init_args": {"n_train": 32, "n_val": 32, "n_test": 32}},
    "trainer": {"logger": False, "accelerator": "cpu", "enable_progress_bar": False},
}


def changed(section, value, *keys):
    config = yaml.safe_load(yaml.dump(WHOLE))
    entry = config[section]
    for key in keys[:-1]:
        entry = entry[key]
    entry[keys[-1]] = value
    return config


CONFIGS = {
    "model": changed("model", "evil_module.Family", "class_path"),
    "flow": changed("model", {"class_path": "evil_module.Flow"}, "init_args", "flow"),
    "flow as text": changed("model", "evil_module.Flow", "init_args", "flow"),
    "function": changed("model", "evil_module.make", "init_args", "flow"),
    "function that is loaded": changed("model", "os.system", "init_args", "flow"),
    "function of torch": changed("model", "torch.hub.load", "init_args", "flow"),
    "through a module": changed("model", "torch.os.system", "init_args", "flow"),
    "function of a part": changed("model", "evil_module.make", "init_args", "flow", "init_args",
                                  "base"),
    "optimizer": changed("model", "evil_module.make", "init_args", "optimizer"),
    "callback": changed("trainer", [{"class_path": "evil_module.Flow"}], "callbacks"),
    "lambda callback": changed(
        "trainer",
        [{"class_path": "lightning.pytorch.callbacks.LambdaCallback",
          "init_args": {"on_test_start": "evil_module.make"}}],
        "callbacks",
    ),
    "logger": changed("trainer", {"class_path": "evil_module.Flow"}, "logger"),
    "strategy": changed("trainer", "evil_module.Flow", "strategy"),
    "plugin": changed("trainer", ["evil_module.Flow"], "plugins"),
    "file": changed("model", "flow.yaml", "init_args", "flow"),
    "file of text": changed("model", "flow.txt", "init_args", "flow"),
    "text of YAML": changed("model", "{class_path: evil_module.Flow}", "init_args", "flow"),
    "data": changed("data", "evil_module.Data", "class_path"),
}  # fmt: skip


@pytest.mark.parametrize("name", CONFIGS)
def test_the_whole_config_beside_a_checkpoint(name, content, capsys):
    Path("flow.yaml").write_text("class_path: evil_module.Flow")
    Path("flow.txt").write_text("evil_module.Flow")
    file = beside(content, CONFIGS[name])
    with pytest.raises(SystemExit):
        cli.main(["test", f"--ckpt_path={file}"])
    assert capsys.readouterr().err.count("error: ") == 1
    unharmed()


def test_a_run_of_ones_own_is_tested_by_its_checkpoint_alone(content, capsys):
    file = beside(content, WHOLE)
    cli.main(["test", f"--ckpt_path={file}"])
    named = cli.main(["test", f"--ckpt_path={file}", "--data=evil_module.Data"])
    assert type(named.datamodule).__name__ == "Data"  # of the command line, not of the file
    del sys.modules["evil_module"]
    file = beside(content, CONFIGS["data"])
    tested = cli.main(["test", f"--ckpt_path={file}", "--trust", "evil_module"])
    assert type(tested.datamodule).__name__ == "Data"
    with pytest.raises(SystemExit):
        cli.main(["test", f"--ckpt_path={file}", "--weights_only=false"])
    assert "would let a checkpoint run code" in capsys.readouterr().err


def test_a_config_beside_trusts_nothing(content, capsys):
    file = beside(content, {**CONFIGS["data"], "trust": ["evil_module"]})
    with pytest.raises(SystemExit):
        cli.main(["test", f"--ckpt_path={file}"])
    assert "neither ours nor of a plugin" in capsys.readouterr().err
    unharmed()


def test_names_of_files_are_no_modules():
    """Data called like a module of the folder is read, and what the user names is imported."""
    np.save("evil_module.npy", np.random.default_rng(0).normal(size=(40, 2)))
    section = {"class_path": "Arrays", "init_args": {"path": "evil_module.npy"}}
    Path("config.yaml").write_text(yaml.dump({"data": section}))
    assert scenes.data_of_config(Path("config.yaml"), named=False).event_shape == (2,)
    unharmed()
    with guarded({"data": {"class_path": "evil_module.Data"}}, own=["--data=evil_module.Data"]):
        pass
    section = {"class_path": "evil_module.Data"}
    Path("config.yaml").write_text(yaml.dump({"data": section}))
    assert type(scenes.data_of_config(Path("config.yaml"))).__name__ == "Data"


# -- data ------------------------------------------------------------------------------------------


def write_npz(path):
    with zipfile.ZipFile(path, "w") as archive:
        stored = io.BytesIO()
        np.save(stored, np.array([PAYLOADS["open"]], dtype=object), allow_pickle=True)
        archive.writestr("data.npy", stored.getvalue())
        archive.writestr("../executed", b"x")


def write_parquet(path):
    import pandas as pd

    pd.DataFrame({"a": [pickle.dumps(PAYLOADS["open"])] * 9}).to_parquet(path)


WRITERS = {
    "npy": lambda p: np.save(p, np.array([PAYLOADS["open"]] * 9, dtype=object), allow_pickle=True),
    "pickle.npy": lambda p: p.write_bytes(pickle.dumps(PAYLOADS["open"])),
    "npz": write_npz,
    "parquet": write_parquet,
    "csv": lambda p: p.write_text("a,b\n" + "=cmd|'touch executed'!A0,__import__('os')\n" * 9),
}


@pytest.mark.parametrize("suffix", WRITERS)
def test_data_is_not_executed(suffix):
    path = Path(f"x.{suffix}")
    WRITERS[suffix](path)
    with pytest.raises((DataError, ConfigError)):
        Arrays(str(path), key="data" if suffix == "npz" else None, validation=0.0, test=0.0).setup()
    unharmed()
