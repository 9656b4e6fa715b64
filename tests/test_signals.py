"""A command that is told to end does so soon, with the right status, and can go on."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch

from command_lines import run_folder
from scripts import run_script
from signalled import command, stop

TESTS = Path(__file__).parent
slow = pytest.mark.slow


@pytest.fixture(scope="module", params=[1, pytest.param(2, marks=slow)])
def runs(request, tmp_path_factory):
    root = tmp_path_factory.mktemp("runs")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RANKS", str(request.param))
        run_script(TESTS / "signalled.py", root)
    return root


def last(folder):
    return torch.load(run_folder(folder) / "checkpoints" / "last.ckpt", weights_only=True)


def same(resumed, whole):
    """Weights and optimizer to the bit."""
    torch.testing.assert_close(resumed["state_dict"], whole["state_dict"], rtol=0, atol=0)
    (one,), (other,) = resumed["optimizer_states"], whole["optimizer_states"]
    torch.testing.assert_close(one["state"], other["state"], rtol=0, atol=0)


@pytest.mark.parametrize(
    ("name", "status"),
    [("train SIGTERM", 143), ("train SIGINT", 130), ("setup SIGTERM", 143), ("test SIGTERM", 143)],
)
def test_a_signal_ends_a_run_with_its_status_and_the_run_goes_on(runs, name, status):
    found = json.loads((runs / "found").read_text())
    assert found["whole"]["status"] == 0
    assert found[name]["status"] == status
    assert found[name]["seconds"] < 20
    said = (runs / name / "said").read_text()
    assert "Traceback" not in said
    if name.startswith("train"):
        assert found[name]["resumed"] == 0
        assert said.count(f"Stopped by {name.split()[1]}. Saved ") == 1
        same(last(runs / name), last(runs / "whole"))


@slow
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
@pytest.mark.parametrize("at", ["setup", "train", "test"])
def test_ranks_that_are_started_as_commands(at, number, tmp_path):
    """Both ranks are commands here; the second is a child of the first."""
    path = str(TESTS)
    base = {**os.environ, "PYTHONPATH": path, "OMP_NUM_THREADS": "1"}

    def start(folder, at, *options):
        folder.mkdir(exist_ok=True)
        subcommand = "test" if at == "test" else "fit"
        args = [arg.replace("ddp_fork", "ddp") for arg in command(subcommand, 2, *options)]
        return subprocess.Popen(
            [sys.executable, "-m", "lightning_flows", *args],
            env={**base, "AT": at},
            cwd=folder,
            stderr=subprocess.PIPE,
            text=True,
            # a process in the background of a shell ignores SIGINT, and so would its children
            preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
            process_group=0,
        )

    stopped, whole = tmp_path / "stopped", tmp_path / "whole"
    options = []
    if at != "setup":
        process = start(whole, "")
        said = process.communicate(timeout=120)[1]
        assert process.returncode == 0, said
    if at == "test":
        options = [f"--ckpt_path={run_folder(whole)}/checkpoints/last.ckpt"]
    process = start(stopped, at, *options)
    stop(process.pid, stopped, number)
    before = time.monotonic()
    said = process.communicate(timeout=60)[1]  # until no process is left
    assert time.monotonic() - before < 20
    assert process.returncode == 128 + number, said
    assert at != "train" or "Stopped by" in said
    if at == "train":
        process = start(stopped, "", "--ckpt_path=last")
        said = process.communicate(timeout=120)[1]
        assert process.returncode == 0, said
        same(last(stopped), last(whole))
