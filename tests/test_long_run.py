"""Memory and open files stay as they are over many steps, with everything that a run can have."""

import os
from functools import partial
from pathlib import Path

import lightning.pytorch as pl
import pytest
from lightning.pytorch.callbacks import ModelCheckpoint
from lightning.pytorch.loggers import TensorBoardLogger

from lightning_flows import DensityModule, RealNVP
from lightning_flows.callbacks import (
    ComponentExtraction,
    DensityPlot,
    LastCheckpoint,
    NonFiniteGuard,
    OutOfDistribution,
    ReconstructionGrid,
    SampleGrid,
)
from lightning_flows.datamodules import Toy
from lightning_flows.modules.checkpoint_io import AtomicCheckpointIO

STEPS = int(os.environ.get("STEPS", "20000"))
SETTLED = 2_000  # steps until libraries have made what they keep
PROC = Path("/proc/self")


class Watch(pl.Callback):
    """Notes the memory that is taken, swapped out or not, in KiB, and the number of open files."""

    def __init__(self):
        self.found = {}

    def on_train_batch_end(self, trainer, pl_module, outputs, batch, batch_idx):
        if trainer.global_step % 1000 == 0:
            status = dict(line.split(":") for line in (PROC / "status").read_text().splitlines())
            memory = sum(int(status[name].split()[0]) for name in ("VmRSS", "VmSwap"))
            self.found[trainer.global_step] = memory, len(os.listdir(PROC / "fd"))


@pytest.mark.slow
@pytest.mark.skipif(not PROC.exists(), reason="memory is read from /proc")
@pytest.mark.filterwarnings("ignore")  # of libraries
def test_memory_and_files_do_not_grow(tmp_path):
    pl.seed_everything(1, verbose=False)
    data = Toy("moons", n_train=4000, n_val=64, n_test=64, batch_size=16)
    model = DensityModule(partial(RealNVP, layers=2, hidden=(8,)), data.event_shape, noise=0.05)
    watch = Watch()
    drawing = [
        SampleGrid(n=64),
        ReconstructionGrid(n=16),
        DensityPlot(resolution=20, points=64),
        ComponentExtraction(points=4, walks=1, every_n_epochs=1),
        OutOfDistribution(
            Toy("rings", n_train=64, n_val=64, n_test=64), points=64, every_n_epochs=1
        ),
    ]
    trainer = pl.Trainer(
        max_steps=STEPS,
        accelerator="cpu",
        default_root_dir=tmp_path,
        logger=TensorBoardLogger(tmp_path, default_hp_metric=False),
        callbacks=[
            *drawing,
            NonFiniteGuard(),
            ModelCheckpoint(monitor="val/loss"),
            LastCheckpoint(minutes=0.05),
            watch,
        ],
        plugins=[AtomicCheckpointIO()],
        enable_progress_bar=False,
        enable_model_summary=False,
    )
    trainer.fit(model, data)
    drawn = list(Path(trainer.log_dir).glob("images/*/*.png"))
    assert len({path.parent for path in drawn}) == len(drawing)
    memory, files = watch.found[SETTLED]
    later = {step: found for step, found in watch.found.items() if step > SETTLED}
    assert {count for _, count in later.values()} == {files}
    assert later[STEPS][0] / memory - 1 < 0.02, {s: m / memory for s, (m, _) in later.items()}
