"""Kills runs of the command line at random, goes on with each, and compares what comes out.

    python -m benchmarks.reliability --count 100 --seed 0

A run is killed up to three times, at random moments or while a checkpoint is being written, and
goes on with `--ckpt_path last` each time. In the end its weights and the state of its optimizer
are compared with those of a run that nobody killed. Runs are forked from this process, which has
imported everything already; every tenth is started as a command of its own.
"""

import argparse
import os
import random
import shutil
import signal
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
import torch

from lightning_flows import cli
from lightning_flows.core.errors import CheckpointError
from lightning_flows.modules.checkpoints import check_checkpoint

KINDS = ("SIGKILL", "SIGKILL in a write", "SIGTERM", "SIGINT")
SECONDS = {1: 3.0, 2: 5.0}  # from the first step, in which a run of so many ranks is killed
COLUMNS = ("kills", "within a write", "unreadable", "too many steps lost", "wrong status")


class Progress(pl.Callback):
    """Leaves the number of steps that are done, whatever happens next."""

    def on_train_batch_end(
        self, trainer: pl.Trainer, pl_module: Any, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        if trainer.is_global_zero:
            with open("progress", "r+b" if os.path.exists("progress") else "w+b") as file:
                file.write(f"{trainer.global_step:8d}".encode())


def command(ranks: int) -> list[str]:
    """A run of 156 steps, each of which draws noise."""
    devices = [f"--trainer.devices={ranks}", *["--trainer.strategy=ddp_fork"] * (ranks > 1)]
    return [
        "fit",
        "--model=DensityModule",
        "--model.flow=RealNVP",
        "--model.flow.layers=2",
        "--model.flow.hidden=[8]",
        "--model.noise=0.05",
        "--data=Toy",
        "--data.n_train=200",
        "--data.n_val=64",
        "--data.batch_size=16",
        "--seed_everything=1",
        "--trainer.accelerator=cpu",
        "--trainer.enable_progress_bar=false",
        "--trainer.enable_model_summary=false",
        "--trainer.max_epochs=12",
        "--trainer.callbacks=benchmarks.reliability.Progress",
        "--pictures=false",
        "--last.minutes=0",  # after every step
        *devices,
    ]


def start(folder: Path, args: list[str], temporary: Path, *, own: bool) -> int:
    """A run in a folder, as a process that leads a group of its own: its number."""
    process = os.fork()
    if process:
        return process
    os.setpgrp()
    signal.signal(signal.SIGINT, signal.default_int_handler)
    os.chdir(folder)
    os.environ["TMPDIR"] = tempfile.tempdir = str(temporary)
    with Path("said").open("a") as file:
        os.dup2(file.fileno(), 1)
        os.dup2(file.fileno(), 2)
    if own:
        os.environ["PYTHONPATH"] = str(Path(__file__).parents[1])
        os.execv(sys.executable, [sys.executable, "-m", "lightning_flows", *args])
    status: Any = 0
    try:
        cli.main(args)
    except SystemExit as stopped:
        status = stopped.code
    except BaseException as error:
        print(f"{type(error).__name__}: {error}", flush=True)
        status = 1
    sys.stdout.flush()
    os._exit(status)


def kill(process: int, folder: Path, kind: str, after: float) -> tuple[int, bool]:
    """Kill a run: its status, and whether that was while a checkpoint was being written."""
    begun = folder / "progress"
    before = begun.stat().st_mtime_ns if begun.exists() else 0
    left: float | None = None
    while True:  # until the run has taken a step, and then for a while
        done, status = os.waitpid(process, os.WNOHANG)
        if done:
            return os.waitstatus_to_exitcode(status), False
        now = time.monotonic()
        if left is None and begun.exists() and begun.stat().st_mtime_ns != before:
            left = now + after
        if left is not None and now >= left:
            aimed = kind != "SIGKILL in a write"
            if aimed or [*folder.glob("runs/*/*/checkpoints/.last.ckpt.tmp")]:
                break
        time.sleep(0.0002)
    number = signal.Signals[kind.split()[0]]
    if number == signal.SIGTERM:
        os.kill(process, number)
    else:  # of a terminal, or of a machine that goes down
        os.killpg(process, number)
    code = os.waitstatus_to_exitcode(os.waitpid(process, 0)[1])
    return code, bool([*folder.glob("runs/*/*/checkpoints/.last.ckpt.tmp")])


def last(folder: Path) -> Path | None:
    """The newest checkpoint of a run; None where it was killed before there was one."""
    return next(folder.glob("runs/*/*/checkpoints/last.ckpt"), None)


def finish(folder: Path, args: list[str], temporary: Path) -> dict[str, Any]:
    """Let a run come to its end: what its last checkpoint holds."""
    process = start(folder, args, temporary, own=False)
    status = os.waitstatus_to_exitcode(os.waitpid(process, 0)[1])
    path = last(folder)
    if status or path is None:
        raise SystemExit(f"A run in {folder} ended with {status}; {folder}/said says why.")
    content: dict[str, Any] = check_checkpoint(path, weights_only=True)
    return content


def same(one: Any, other: Any) -> bool:
    """Whether two nested contents are equal to the bit."""
    if isinstance(one, torch.Tensor):
        return torch.equal(one, other)
    if isinstance(one, dict):
        return one.keys() == other.keys() and all(same(one[key], other[key]) for key in one)
    if isinstance(one, list | tuple):
        return len(one) == len(other) and all(map(same, one, other))
    return bool(one == other)


def trial(
    folder: Path, args: list[str], draw: random.Random, tally: Counter[Any], **how: Any
) -> None:
    """Kill a run up to three times, and go on each time."""
    ranks, temporary, own = how["ranks"], how["temporary"], how["own"]
    folder.mkdir()
    for _ in range(3):
        kind = draw.choice(KINDS)
        resume = ["--ckpt_path=last"] if last(folder) else []
        process = start(folder, [*args, *resume], temporary, own=own)
        status, writing = kill(process, folder, kind, draw.uniform(0, SECONDS[ranks]) / 2)
        number = signal.Signals[kind.split()[0]]
        if status == 0:  # it was faster
            tally["finished before the kill"] += 1
            return
        row = (kind, ranks)
        tally[row, "kills"] += 1
        tally[row, "within a write"] += writing
        tally[row, "wrong status"] += status not in (-number, 128 + number)
        path = last(folder)
        try:
            saved = check_checkpoint(path, weights_only=True)["global_step"] if path else 0
        except CheckpointError:
            tally[row, "unreadable"] += 1
            continue
        done = int((folder / "progress").read_text())
        tally[row, "too many steps lost"] += max(0, done - saved - 1)  # one may be at work


def main() -> None:
    """Kill as many times as the command line says, and print a table of counts."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--count", type=int, default=100, help="of kills")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    torch.set_num_threads(1)
    draw, tally = random.Random(options.seed), Counter[Any]()
    root = Path(tempfile.mkdtemp())
    memory = Path(tempfile.mkdtemp(dir="/dev/shm")) if Path("/dev/shm").is_dir() else root
    whole = {}
    for ranks in (1, 2):
        folder = root / f"whole{ranks}"
        folder.mkdir()
        whole[ranks] = finish(folder, command(ranks), root)
    runs = 0
    while sum(tally[row] for row in tally if row[1] == "kills") < options.count:
        ranks = 2 if runs % 4 == 3 else 1
        folder, temporary = root / f"run{runs}", (root, memory)[runs % 2]
        args = command(ranks)
        trial(folder, args, draw, tally, ranks=ranks, temporary=temporary, own=runs % 10 == 9)
        resume = ["--ckpt_path=last"] if last(folder) else []
        found = finish(folder, [*args, *resume], temporary)
        parts = ("state_dict", "optimizer_states", "global_step")
        equal = all(same(found[part], whole[ranks][part]) for part in parts)
        tally["runs"] += 1
        tally["equal"] += equal
        if equal:
            shutil.rmtree(folder)
        else:
            print(f"{folder} differs")
        runs += 1
    print("| signal | ranks | " + " | ".join(COLUMNS) + " |")
    print("| --- " * (2 + len(COLUMNS)) + "|")
    for kind in KINDS:
        for ranks in (1, 2):
            counts = " | ".join(str(tally[(kind, ranks), column]) for column in COLUMNS)
            print(f"| {kind} | {ranks} | {counts} |")
    print(f"{tally['equal']} of {tally['runs']} runs ended with the weights of the whole one;")
    print(f"{tally['finished before the kill']} were faster than their last kill.")
    shutil.rmtree(memory, ignore_errors=True)


if __name__ == "__main__":
    main()
