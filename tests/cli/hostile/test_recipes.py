"""Recipes of strangers name parts of modules that are known or trusted, and nothing else."""

import sys
from pathlib import Path

import pytest

import lightning_flows
from lightning_flows.cli import commands
from lightning_flows.core import trusted
from lightning_flows.core.errors import ConfigError, FlowError
from lightning_flows.core.recipe import build_factory, build_part
from strangers import EVIL, NAMES, checkpoint, unharmed

pytestmark = pytest.mark.filterwarnings("ignore")  # of Lightning and jsonargparse

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
