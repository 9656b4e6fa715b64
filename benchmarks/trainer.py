"""What Lightning's Trainer with our loader costs beside a bare training loop."""

import logging
import os
import tempfile
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import lightning.pytorch as L
import torch
from lightning.pytorch.callbacks import RichProgressBar
from lightning.pytorch.loggers import TensorBoardLogger
from torch import Tensor

from benchmarks.peers import Sizes
from benchmarks.report import Row, speed_row
from benchmarks.timing import Stopwatch, interleave
from lightning_flows.datamodules import InMemoryLoader
from lightning_flows.flows import RealNVP
from lightning_flows.modules import DensityModule

__all__ = ["trainer_rows"]

WARMUP_STEPS = 2  # of every fit: the first steps allocate
# Of RichProgressBar, which draws up to this many times a *second* in a thread of its own: 50 costs
# a tenth of this step, 1 next to nothing (Lightning 2.6)
REFRESH_RATE = 1


def trainer_rows(
    sizes: Sizes, *, batch: int, steps: int, rounds: int, warmup: int
) -> Iterator[Row]:
    """Time a step of `DensityModule` in a Trainer as the command line sets it up.

    TensorBoard, logging every 50 steps, and the Rich bar are on.
    Set-up, first steps, and what happens once in an epoch (checkpoint, validation) are not timed.

    Args:
        sizes: of the RealNVP.
        batch: rows in a batch.
        steps: steps that are timed in a round.
        rounds: rounds that count.
        warmup: rounds before those.
    """
    generator = torch.Generator().manual_seed(0)
    data = torch.randn(batch * (steps + WARMUP_STEPS), sizes.features, generator=generator)
    make = partial(RealNVP, layers=sizes.layers, hidden=tuple(sizes.hidden))
    with tempfile.TemporaryDirectory() as folder:
        watches: dict[str, Stopwatch] = {
            "ours": lambda: _trainer(make, data, batch, Path(folder)),
            "bare loop": lambda: _bare_loop(make, data, batch),
        }
        with _quiet():
            timing = interleave(watches, rounds=rounds, warmup=warmup)
    yield speed_row("Trainer, our loader: step", timing, "bare loop", at_most=1.20)


def _bare_loop(make: Callable[..., RealNVP], data: Tensor, batch: int) -> float:
    torch.manual_seed(0)
    flow = make(data.shape[1])
    optimizer = torch.optim.Adam(flow.parameters(), lr=1e-3, fused=True)
    start = 0.0
    for i, index in enumerate(torch.randperm(len(data)).split(batch)):
        if i == WARMUP_STEPS:
            start = time.process_time()
        optimizer.zero_grad()
        (-flow(data[index]).mean()).backward()
        optimizer.step()
    return (time.process_time() - start) / (i + 1 - WARMUP_STEPS)


def _trainer(make: Callable[..., RealNVP], data: Tensor, batch: int, folder: Path) -> float:
    torch.manual_seed(0)
    clock = _Clock()
    with open(os.devnull, "w", encoding="utf-8") as nowhere:
        bar = RichProgressBar(
            refresh_rate=REFRESH_RATE, console_kwargs={"file": nowhere, "force_terminal": True}
        )
        trainer = L.Trainer(
            accelerator="cpu",
            devices=1,
            max_epochs=1,
            logger=TensorBoardLogger(folder),
            callbacks=[bar, clock],
            enable_checkpointing=False,
            enable_model_summary=False,
        )
        loader: Any = InMemoryLoader([data], batch, shuffle=True)
        trainer.fit(DensityModule(make, data.shape[1]), loader)
    return clock.seconds / (len(loader) - WARMUP_STEPS)


class _Clock(L.Callback):
    """Process time from the first step after the warm-up to the end of the last step."""

    seconds = 0.0
    _start = 0.0

    def on_train_batch_end(
        self,
        trainer: L.Trainer,
        pl_module: L.LightningModule,
        outputs: Any,
        batch: Any,
        batch_idx: int,
    ) -> None:
        now = time.process_time()
        if batch_idx + 1 == WARMUP_STEPS:
            self._start = now
        self.seconds = now - self._start


@contextmanager
def _quiet() -> Iterator[None]:
    """Keep Lightning's remarks on hardware and loaders out of the tables."""
    log = logging.getLogger("lightning.pytorch")
    level = log.level
    log.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        log.setLevel(level)
