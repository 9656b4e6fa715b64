"""Runs of the command line on two ranks, one of which fails; a script, as `test_ranks.py` says."""

import json
import os
import signal
import sys
import time
import warnings
from pathlib import Path

import torch
from torch.utils.data import DataLoader, TensorDataset

from command_lines import small
from lightning_flows import DensityModule, cli
from lightning_flows.callbacks import SampleGrid
from lightning_flows.datamodules import Toy


class FailsInStep(DensityModule):
    """Does something in the third step, on one rank."""

    def training_step(self, batch, batch_idx):
        loss = super().training_step(batch, batch_idx)
        rank, act = os.environ["FAILS"].split()
        if self.global_rank != int(rank) or self.global_step < 2:
            return loss
        if act == "raises":
            raise ValueError("no such luck")
        if act == "killed":
            os.kill(os.getpid(), signal.SIGKILL)
        return loss * torch.nan


class FailsInScalars(SampleGrid):
    """Has a number to log on all ranks but one, or on all but the other."""

    def setup(self, trainer, pl_module, stage):
        super().setup(trainer, pl_module, stage)
        self.fails = trainer.global_rank == int(os.environ["FAILS"])

    def scalars(self, results):
        if self.fails:
            raise RuntimeError("no number")
        return {"number": 1.0}


class OfOwnSamplers(Toy):
    """Loaders with a sampler of their own, which forgets that shares should be equal."""

    def train_dataloader(self):
        return self._by_rank(*json.loads(os.environ["FAILS"])[0])

    def val_dataloader(self):
        return self._by_rank(*json.loads(os.environ["FAILS"])[1])

    def _by_rank(self, *rows):
        x = self._splits["train"]["x"]
        own = list(range(rows[self.trainer.global_rank]))
        return DataLoader(TensorDataset(x), batch_size=32, sampler=own)


STEP = ["--model=failing_ranks.FailsInStep", "--model.flow=RealNVP", "--model.flow.layers=1"]
OWN = ["--data=failing_ranks.OfOwnSamplers", "--trainer.use_distributed_sampler=false"]
DRAWS = ["--trainer.callbacks=failing_ranks.FailsInScalars", "--trainer.callbacks.n=4"]

FAULTS = {
    "raises on rank 0": ("0 raises", STEP),
    "raises on rank 1": ("1 raises", STEP),
    "killed on rank 0": ("0 killed", STEP),
    "killed on rank 1": ("1 killed", STEP),
    "not finite on rank 1": (
        "1 nan",
        [*STEP, "--trainer.callbacks=NonFiniteGuard", "--trainer.callbacks.limit=2"],
    ),
    "scalars on rank 0": ("0", DRAWS),
    "scalars on rank 1": ("1", DRAWS),
    "uneven training": ("[[96, 160], [32, 32]]", OWN),
    "no validation on rank 1": ("[[96, 96], [32, 0]]", OWN),
    "uneven validation": ("[[96, 96], [32, 64]]", OWN),
    "one row": ("", ["--data.n_val=1"]),
}


def run(folder, fails, options, strategy="ddp_fork"):
    """Run the command line: what it said on standard error and how it ended, in files."""
    folder.mkdir()
    os.chdir(folder)
    os.environ["FAILS"] = fails
    devices = ["--trainer.devices=2", f"--trainer.strategy={strategy}"]
    before = os.dup(2)
    with (folder / "stderr").open("w") as file:
        os.dup2(file.fileno(), 2)
    start, status = time.monotonic(), 0
    try:
        cli.main(small("fit", *devices, *options))
    except SystemExit as stopped:
        status = stopped.code
    finally:
        os.dup2(before, 2)
        os.close(before)
    found = {"status": status, "seconds": time.monotonic() - start}
    (folder / "ended").write_text(json.dumps(found))


if __name__ == "__main__":
    warnings.filterwarnings("ignore", ".*does not have many workers")
    for name, fault in FAULTS.items():
        run(Path(sys.argv[1]) / name, *fault)
