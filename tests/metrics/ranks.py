"""Every metric on two ranks with unequal shares; writes what both found. Run as a script."""

import sys
from pathlib import Path

import torch
import torch.distributed as dist
import torch.multiprocessing as mp
from metric_cases import CASES
from torch import Tensor

from proofs.metric import data, found


def results(rank: int, world: int) -> dict[str, Tensor]:
    """All metrics of one rank's share: a third of the points on rank 0, the rest on rank 1."""
    x, y = (z if world == 1 else (z[:20], z[20:])[rank] for z in data())
    values: dict[str, Tensor] = {}
    for name, case in CASES.items():
        metric = found(case, x, y, len(x))
        values[name] = metric.compute()
        if case.error is not None:
            values[f"{name}, standard error"] = metric.standard_error(**case.error)
    return values


def work(rank: int, folder: str) -> None:
    dist.init_process_group("gloo", f"file://{folder}/store", rank=rank, world_size=2)
    torch.save(results(rank, 2), Path(folder) / f"rank{rank}.pt")
    dist.destroy_process_group()


if __name__ == "__main__":
    mp.start_processes(work, args=(sys.argv[1],), nprocs=2, start_method="fork")
