"""Runs with callbacks in one or two processes, which leave what each rank saw.

As a script it runs what `test_ddp.py` compares: forking from a pytest process would be fragile.
"""

import sys
from functools import partial
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
import torch
from callback_cases import drawers
from foreign import IMAGES, PLANE, Foreign, drawing, loader, trainer
from torch import Tensor

from lightning_flows import DensityModule, RankedFlow, RealNVP
from lightning_flows.callbacks import (
    ContributionRanking,
    GreedyBlocks,
    NonFiniteGuard,
    SampleGrid,
    base,
)
from lightning_flows.datamodules import Arrays


class Witness(pl.Callback):
    """Every rank leaves its weights, its random state and the names of files it can write."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def on_train_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self.root.mkdir(parents=True, exist_ok=True)
        state = {
            "weights": pl_module.state_dict(),
            "rng": torch.get_rng_state(),
            "blocks": [c.block for c in trainer.callbacks if isinstance(c, GreedyBlocks)],
            "skipped": [c.skipped for c in trainer.callbacks if isinstance(c, NonFiniteGuard)],
            "steps": trainer.global_step,
        }
        torch.save(state, self.root / f"rank{trainer.global_rank}.pt")


class FailsOnOneRank(Foreign):
    """Cannot sample on rank 1."""

    def sample(self, n: int) -> Tensor:
        if self.global_rank == 1:
            raise RuntimeError("no samples here")
        return super().sample(n)


class DivergesOnOneRank(Foreign):
    """Has one NaN loss, on rank 1 alone."""

    def training_step(self, batch: Any, batch_idx: int) -> Tensor:
        loss = super().training_step(batch, batch_idx)
        bad = self.global_rank == 1 and self.global_step == 2
        return loss * torch.nan if bad else loss


def fit(
    root: Path,
    module: pl.LightningModule,
    devices: int,
    callbacks: list[pl.Callback],
    **options: Any,
) -> None:
    pl.seed_everything(3, verbose=False)
    strategy = "ddp_fork" if devices > 1 else "auto"
    callbacks = [*callbacks, Witness(root)]
    run = trainer(root, devices=devices, strategy=strategy, callbacks=callbacks, **options)
    shape = module.shape
    assert isinstance(shape, tuple)
    run.fit(module, loader(shape, shuffle=True), loader(shape))


def record_writers() -> None:
    """Leave a line for every drawing that a rank writes."""
    original = base.write

    def write(
        run: pl.Trainer, drawing: Any, folder: Path, name: str, stem: str, *more: Any
    ) -> None:
        original(run, drawing, folder, name, stem, *more)
        with (folder / "written.txt").open("a") as lines:
            lines.write(f"{run.global_rank} {name} {stem}\n")

    base.write = write


def ranked() -> tuple[DensityModule, Arrays]:
    """Columns that are alike, so that noise alone decides which of them add most."""
    x = torch.randn(250, 32, generator=torch.Generator().manual_seed(0))
    data = Arrays(data=x, validation=0.2, test=0.0, standardize=False, batch_size=32)
    flow = partial(RankedFlow, levels=3, steps=2, hidden=(8,), actnorm=False)
    return DensityModule(flow, 32), data


class Steps(pl.Callback):
    """Every rank leaves what it saw at each step, and the model as it was after it."""

    def __init__(self, root: Path) -> None:
        self.root, self.steps = root, list[Any]()

    def on_train_batch_end(
        self,
        trainer: pl.Trainer,
        pl_module: pl.LightningModule,
        outputs: Any,
        batch: Any,
        batch_idx: int,
    ) -> None:
        state = {key: value.clone() for key, value in pl_module.state_dict().items()}
        self.steps.append((trainer.current_epoch, batch["x"].clone(), state))

    def on_train_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self.root.mkdir(parents=True, exist_ok=True)
        torch.save(self.steps, self.root / f"steps{trainer.global_rank}.pt")


def fit_ranked(root: Path) -> None:
    pl.seed_everything(0, verbose=False)
    model, data = ranked()
    callbacks = [ContributionRanking(epochs=1), Steps(root)]
    options = {"devices": 2, "strategy": "ddp_fork", "max_epochs": 3}
    trainer(root, callbacks=callbacks, **options).fit(model, data)


def fit_greedy(root: Path) -> None:
    """Two of three blocks, on points of a bent curve."""
    x = torch.randn(800, 2, generator=torch.Generator().manual_seed(0))
    x[:, 1] = x[:, 0].square() + 0.3 * x[:, 1]
    data = Arrays(data=x, validation=0.5, test=0.0, batch_size=50)
    pl.seed_everything(0, verbose=False)
    model = DensityModule(partial(RealNVP, layers=3, hidden=(16,)), 2)
    greedy = GreedyBlocks(epochs=2, points=200)
    options = {"devices": 2, "strategy": "ddp_fork", "max_epochs": 4}
    trainer(root, callbacks=[greedy, Witness(root)], **options).fit(model, data)


def main(root: Path) -> None:
    record_writers()
    fit_greedy(root / "greedy")
    fit_ranked(root / "ranked")
    fit(root / "images2", Foreign(lr=0.0), 2, [*drawers(IMAGES)])
    fit(root / "plane2", Foreign(PLANE, lr=0.0), 2, [*drawers(PLANE)])
    fit(root / "with", Foreign(), 2, drawing())
    fit(root / "without", Foreign(), 2, [])
    fit(root / "fails", FailsOnOneRank(), 2, drawing())
    fit(root / "diverges", DivergesOnOneRank(), 2, [NonFiniteGuard(), SampleGrid(20)])
    fit(root / "images1", Foreign(lr=0.0), 1, [*drawers(IMAGES)])
    fit(root / "plane1", Foreign(PLANE, lr=0.0), 1, [*drawers(PLANE)])


if __name__ == "__main__":
    main(Path(sys.argv[1]))
