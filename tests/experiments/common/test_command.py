"""The command line that experiments share."""

from pathlib import Path

import pytest

from experiments.common.command import HOME, command_line


@pytest.mark.parametrize("folder", ["elsewhere", None])
def test_data_is_where_the_option_or_the_environment_says(folder, monkeypatch):
    monkeypatch.delenv("LIGHTNING_FLOWS_DATA", raising=False)
    if folder is not None:
        monkeypatch.setenv("LIGHTNING_FLOWS_DATA", folder)
    parser = command_line(None, "tables", data=True, steps=7)
    out = HOME / "experiments" / "tables" / "results.json"
    assert vars(parser.parse_args([])) == {"steps": 7, "data": Path(folder or "data"), "out": out}
    assert parser.parse_args(["--data", "here"]).data == Path("here")


def test_help_shows_the_first_line_of_the_module_and_every_option():
    parser = command_line("What it asks.\n\nHow it is run.", "circle", figure=True, seeds=3)
    text = parser.format_help()
    assert "What it asks." in text
    assert "How it is run" not in text
    assert all(f"--{name}" in text for name in ("seeds", "out", "figure"))
