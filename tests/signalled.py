"""Runs of the command line that are told to end; a script, as `test_signals.py` says.

Every run is a process of its own, forked from this one, which has imported everything already.
"""

import json
import os
import signal
import sys
import time
from pathlib import Path

import lightning.pytorch as pl

from command_lines import small
from lightning_flows import cli


class At(pl.Callback):
    """Leaves a mark at the place that the environment names, and gives a signal time to come."""

    def _wait(self, trainer, place):
        if os.environ.get("AT") == place and trainer.global_rank == 0:
            mark = Path("mark")
            mark.touch()
            deadline = time.monotonic() + 5
            while mark.exists() and time.monotonic() < deadline:
                time.sleep(0.01)

    def setup(self, trainer, pl_module, stage):
        self._wait(trainer, "setup")

    def on_train_batch_start(self, trainer, pl_module, batch, batch_idx):
        if trainer.global_step == 9:
            self._wait(trainer, "train")

    def on_test_batch_start(self, trainer, pl_module, batch, batch_idx, dataloader_idx=0):
        if batch_idx == 1:
            self._wait(trainer, "test")


def start(folder, at, args):
    """A run in a folder, as a process that leads a group, as those of a shell do: its number."""
    process = os.fork()
    if process:
        return process
    os.setpgrp()
    folder.mkdir(exist_ok=True)
    os.chdir(folder)
    os.environ["AT"] = at
    with Path("said").open("a") as file:
        os.dup2(file.fileno(), 1)
        os.dup2(file.fileno(), 2)
    try:
        cli.main(args)
    except SystemExit as stopped:
        code = stopped.code
    else:
        code = 0
    sys.stdout.flush()
    os._exit(code)


def stop(process, folder, number):
    """Signal a run that has left its mark; SIGINT reaches its group, as from a terminal."""
    mark = folder / "mark"
    while not mark.exists():
        time.sleep(0.01)
    (os.killpg if number == signal.SIGINT else os.kill)(process, number)
    time.sleep(0.1)
    mark.unlink()


def ended(process):
    return os.waitstatus_to_exitcode(os.waitpid(process, 0)[1])


def command(subcommand, ranks, *options):
    devices = [f"--trainer.devices={ranks}", *["--trainer.strategy=ddp_fork"] * (ranks > 1)]
    callback = "--trainer.callbacks=signalled.At"
    return small(subcommand, *devices, callback, "--trainer.max_epochs=3", *options)


def main(root, ranks):
    signal.signal(signal.SIGINT, signal.default_int_handler)
    fit = command("fit", ranks)
    whole = ended(start(root / "whole", "", fit))
    found = {"whole": {"status": whole}}
    for at, number in (
        ("train", signal.SIGTERM),
        ("train", signal.SIGINT),
        ("setup", signal.SIGTERM),
        ("test", signal.SIGTERM),
    ):
        name = f"{at} {number.name}"
        last = next(root.glob("whole/**/last.ckpt"))
        args = command("test", ranks, f"--ckpt_path={last}") if at == "test" else fit
        process = start(root / name, at, args)
        stop(process, root / name, number)
        before = time.monotonic()
        found[name] = {"status": ended(process), "seconds": time.monotonic() - before}
        if at == "train":
            resumed = start(root / name, "", [*fit, "--ckpt_path=last"])
            found[name]["resumed"] = ended(resumed)
    (root / "found").write_text(json.dumps(found))


if __name__ == "__main__":
    main(Path(sys.argv[1]), ranks=int(os.environ.get("RANKS", "1")))
