"""A rank that fails ends the run with its own error, and no rank waits for it."""

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from command_lines import small
from failing_ranks import FAULTS
from scripts import run_script

TESTS = Path(__file__).parent
OTHER = "stops, because another rank has failed."
EXPECTED = {
    "raises on rank 0": (1, "rank 0: ValueError: no such luck."),
    "raises on rank 1": (1, "rank 1: ValueError: no such luck."),
    "killed on rank 0": (137, f"rank 1 {OTHER}"),
    "killed on rank 1": (137, f"rank 0 {OTHER}"),
    "not finite on rank 1": (1, "2 optimizer steps had a loss or gradient that is not finite"),
    "uneven training": (1, "The training loaders of the ranks have from 3 to 5 batches; accepted"),
    "no validation on rank 1": (1, "rank 1: `DataLoader` within local rank has zero length."),
    "one row": (1, "The val split of Toy has fewer rows than there are ranks, 1 and 2: give it"),
}


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    root = tmp_path_factory.mktemp("runs")
    run_script(TESTS / "failing_ranks.py", root)
    return root


def found(folder):
    """How a run ended, and what it said on standard error."""
    return json.loads((folder / "ended").read_text()), (folder / "stderr").read_text()


def errors(said):
    return [line for line in said.splitlines() if line.startswith("error: ")]


@pytest.mark.parametrize("name", EXPECTED)
def test_the_error_of_the_rank_comes_first_and_ends_the_run(runs, name):
    ended, said = found(runs / name)
    status, sentence = EXPECTED[name]
    assert ended["status"] == status
    assert ended["seconds"] < 60
    assert sentence in errors(said)[0]
    assert "gloo" not in said.replace("distributed_backend=gloo", "")
    if status == 137:
        assert errors(said)[1] == f"error: rank {name[-1]} was ended by SIGKILL."
    assert ("Traceback" in said) == name.startswith("raises")  # of what no user can mend


@pytest.mark.parametrize("name", sorted(set(FAULTS) - set(EXPECTED)))
def test_what_one_rank_gets_wrong_without_need_ends_nothing(runs, name):
    ended, said = found(runs / name)
    assert ended["status"] == 0
    assert errors(said) == []
    # numbers are computed on rank 0 alone
    assert ("drew nothing: RuntimeError: no number" in said) == (name == "scalars on rank 0")


@pytest.mark.slow
@pytest.mark.parametrize("name", ["raises on rank 1", "killed on rank 0", "killed on rank 1"])
def test_ranks_that_are_started_as_commands(name, tmp_path):
    fails, options = FAULTS[name]
    devices = ["--trainer.devices=2", "--trainer.strategy=ddp"]
    before = time.monotonic()
    done = subprocess.run(
        [sys.executable, "-m", "lightning_flows", *small("fit", *devices, *options)],
        env={**os.environ, "PYTHONPATH": str(TESTS), "FAILS": fails, "OMP_NUM_THREADS": "1"},
        cwd=tmp_path,
        stderr=subprocess.PIPE,  # read until no process holds it
        text=True,
        timeout=90,
        check=False,
    )
    assert time.monotonic() - before < 80
    said = errors(done.stderr)
    if name == "killed on rank 0":
        assert done.returncode == -9
        assert said == [f"error: rank 1 {OTHER}"]
    elif name == "killed on rank 1":
        assert done.returncode == 1
        assert said == ["error: rank 0 stops, because rank 1 was ended by SIGKILL."]
    else:
        assert done.returncode == 1
        assert said == ["error: rank 1: ValueError: no such luck.", f"error: rank 0 {OTHER}"]
