"""The config that lies beside a checkpoint of a stranger names nothing that is imported."""

import sys
from pathlib import Path

import numpy as np
import pytest
import yaml

from lightning_flows import cli
from lightning_flows.cli import commands, scenes
from lightning_flows.cli.beside import guarded
from strangers import checkpoint, unharmed

pytestmark = pytest.mark.filterwarnings("ignore")  # of Lightning and jsonargparse


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
