"""Flows of plugins have short names; a plugin that fails is left out."""

from importlib.metadata import EntryPoint

import pytest

from command_lines import run_folder, small
from lightning_flows import (
    DensityModule,
    cli,
)
from lightning_flows.cli import command_line

pytestmark = pytest.mark.filterwarnings("ignore")  # of Lightning and jsonargparse

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
