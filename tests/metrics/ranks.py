"""Every metric on two ranks with unequal shares; writes what both found. Run as a script."""

import sys
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
import torch.multiprocessing as mp
from torch import Tensor

from lightning_flows import metrics


def data() -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(0)
    x, y = torch.randn(2, 60, 3, generator=generator)
    return x, 2 * y + 1


def results(rank: int, world: int) -> dict[str, Tensor]:
    """All metrics of one rank's share: a third of the points on rank 0, the rest on rank 1."""
    x, y = (z if world == 1 else (z[:20], z[20:])[rank] for z in data())
    found: dict[str, Any] = {}
    for metric in (
        metrics.FrechetDistance(3),
        metrics.SlicedWasserstein(directions=16),
        metrics.MaximumMeanDiscrepancy(),
    ):
        metric.update(x, real=False)
        metric.update(y, real=True)
        found[type(metric).__name__] = metric.compute()
        if not isinstance(metric, metrics.FrechetDistance):
            found[f"{type(metric).__name__}_se"] = metric.standard_error(groups=5)
    auroc, stump = metrics.OutOfDistributionAUROC(), metrics.StumpAccuracy()
    for points, foreign in ((x, False), (y, True)):
        auroc.update(points[:, 0], foreign=foreign)
        stump.update(points[:, 0], foreign=foreign, train=True)
        stump.update(points[:, 1], foreign=foreign, train=False)
    gap, condition = metrics.EncoderDecoderGap(), metrics.ConditionNumber()
    gap.update(torch.sin, torch.atan, x)
    condition.update(torch.sin, x)
    entropy, correlation = metrics.ManifoldEntropy(latents=[0, 2]), metrics.TotalCorrelation()
    for metric in (entropy, correlation):
        metric.update(lambda z: z.sin() + z.roll(1, 1), x)
    ratio, dimension = metrics.ParticipationRatio(), metrics.IntrinsicDimension(noise=0.5)
    for metric in (ratio, dimension):
        metric.update(x.abs())
    span = metrics.SpannedDimension(3, noise=0.5)
    span.update(x.abs()[:, None] / x.norm(dim=1)[:, None, None], x[:, :1].abs())
    for metric in (auroc, stump, gap, condition, entropy, correlation, ratio, dimension, span):
        found[type(metric).__name__] = metric.compute()
    found["gap_se"] = gap.standard_error()
    return found


def work(rank: int, folder: str) -> None:
    dist.init_process_group("gloo", f"file://{folder}/store", rank=rank, world_size=2)
    torch.save(results(rank, 2), Path(folder) / f"rank{rank}.pt")
    dist.destroy_process_group()


if __name__ == "__main__":
    mp.start_processes(work, args=(sys.argv[1],), nprocs=2, start_method="fork")
