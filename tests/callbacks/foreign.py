"""LightningModules that inherit nothing of ours, and runs of them in one or two processes.

As a script it runs what `test_ddp.py` compares: forking from a pytest process would be fragile.
"""

import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import lightning.pytorch as pl
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset

from lightning_flows import DensityModule, RankedFlow
from lightning_flows.callbacks import (
    ComponentExtraction,
    ContributionRanking,
    DensityPlot,
    FlowCallback,
    LastCheckpoint,
    MassCertificate,
    NonFiniteGuard,
    OutOfDistribution,
    PredictionWriter,
    ReconstructionGrid,
    SampleGrid,
    TruncationPlot,
    base,
)
from lightning_flows.datamodules import Arrays

IMAGES, PLANE = (1, 4, 4), (2,)


class Cloud(Dataset[Any]):
    """A correlated Gaussian with labels, always the same."""

    def __init__(self, shape: tuple[int, ...], n: int = 64) -> None:
        generator = torch.Generator().manual_seed(1)
        size = torch.Size(shape).numel()
        mix = torch.randn(size, size, generator=generator)
        self.x = (torch.randn(n, size, generator=generator) @ mix).view(n, *shape)

    def __len__(self) -> int:
        return len(self.x)

    def __getitem__(self, index: int) -> Any:
        return self.x[index], index // 16


class Foreign(pl.LightningModule):
    """A linear flow x = matrix z + shift with a Gaussian base and noise on its training data."""

    def __init__(self, shape: tuple[int, ...] = (1, 4, 4), lr: float = 0.05) -> None:
        super().__init__()
        size = torch.Size(shape).numel()
        self.shape, self.lr = shape, lr
        self.matrix = nn.Parameter(torch.eye(size) + 0.1 * torch.ones(size, size).tril())
        self.shift = nn.Parameter(torch.zeros(size))
        self.dropout = nn.Dropout(0.1)
        self.frozen = nn.Dropout(0.1).eval()

    def sample(self, n: int) -> Tensor:
        assert not self.training
        return self.decode(torch.randn(n, len(self.shift), device=self.device))

    def encode(self, x: Tensor) -> Tensor:
        return torch.linalg.solve(self.matrix, (x.flatten(1) - self.shift).mT).mT

    def decode(self, z: Tensor) -> Tensor:
        return (z @ self.matrix.mT + self.shift).view(-1, *self.shape)

    def log_prob(self, x: Tensor) -> Tensor:
        base = torch.distributions.Normal(0.0, 1.0).log_prob(self.encode(x)).sum(1)
        return base - torch.linalg.slogdet(self.matrix).logabsdet

    def objective_nll(self, x: Tensor) -> Tensor:
        return -self.log_prob(x)

    def training_step(self, batch: Any, batch_idx: int) -> Tensor:
        x = self.frozen(self.dropout(batch[0]))
        return -self.log_prob(x + 0.1 * torch.randn_like(x)).mean()

    def validation_step(self, batch: Any, batch_idx: int) -> None:
        self.log("val/nll", -self.log_prob(batch[0]).mean(), sync_dist=True)

    def test_step(self, batch: Any, batch_idx: int) -> None:
        self.log("test/nll", -self.log_prob(batch[0]).mean(), sync_dist=True)

    def predict_step(self, batch: Any, batch_idx: int) -> dict[str, Tensor]:
        return {"latent": self.encode(batch[0]), "log_prob": self.log_prob(batch[0])}

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.Adam(self.parameters(), lr=self.lr)


def loader(shape: tuple[int, ...] = (1, 4, 4), *, shuffle: bool = False) -> DataLoader[Any]:
    return DataLoader(Cloud(shape), batch_size=16, shuffle=shuffle)


class Elsewhere(pl.LightningDataModule):
    """The cloud, shifted, as a data set that is out of the distribution; of other sizes."""

    def __init__(self, shape: tuple[int, ...] = (1, 4, 4), shift: float = 1.0) -> None:
        super().__init__()
        self.shape, self.shift, self.stages = shape, shift, list[str]()

    def setup(self, stage: str) -> None:
        self.stages.append(stage)

    def train_dataloader(self) -> DataLoader[Any]:
        return self._loader(40)

    def val_dataloader(self) -> DataLoader[Any]:
        return self._loader(50)

    def test_dataloader(self) -> DataLoader[Any]:
        return self._loader(60)

    def _loader(self, n: int) -> DataLoader[Any]:
        cloud = Cloud(self.shape, n)
        cloud.x += self.shift
        return DataLoader(cloud, batch_size=16)


def drawing(seed: int = 0) -> list[pl.Callback]:
    """All callbacks; those for the plane draw one warning on images."""
    return [
        SampleGrid(n=40, seed=seed),
        ReconstructionGrid(n=20),
        ComponentExtraction(points=6, walks=1, every_n_epochs=1),
        DensityPlot(resolution=70, points=40),
        NonFiniteGuard(),
    ]


def trainer(root: Path, **options: Any) -> pl.Trainer:
    defaults: dict[str, Any] = {
        "accelerator": "cpu",
        "default_root_dir": root,
        "max_epochs": 2,
        "logger": False,
        "enable_checkpointing": False,
        "enable_progress_bar": False,
        "enable_model_summary": False,
        "log_every_n_steps": 1,
        "num_sanity_val_steps": 2,
    }
    return pl.Trainer(**{**defaults, **options})


class CallbackCase(NamedTuple):
    """A callback and how it is tried.

    Args:
        build: the callback, given the shape of the data; it acts in the first epoch.
        writes: a file that it leaves in the run's folder, or none.
        module: what it works on, given the shape of the data.
        trains: whether it is meant to change the model.
        images: whether it draws data that are images.
    """

    build: Callable[[tuple[int, ...]], pl.Callback]
    writes: str | None = None
    module: Callable[[tuple[int, ...]], pl.LightningModule] = Foreign
    trains: bool = False
    images: bool = True


def _elsewhere(shape: tuple[int, ...]) -> pl.Callback:
    return OutOfDistribution(Elsewhere(shape), points=100, every_n_epochs=1)


def _components(shape: tuple[int, ...]) -> pl.Callback:
    return ComponentExtraction(points=6, walks=1, every_n_epochs=1)


def _ranked(shape: tuple[int, ...]) -> pl.LightningModule:
    return DensityModule(partial(RankedFlow, steps=1, hidden=(4,)), shape)


CASES: dict[str, CallbackCase] = {
    "samples": CallbackCase(lambda _: SampleGrid(n=40), "images/samples/0001.png"),
    "reconstructions": CallbackCase(
        lambda _: ReconstructionGrid(n=20), "images/reconstructions/0001.png"
    ),
    "components": CallbackCase(_components, "images/components/0001.npz"),
    "density": CallbackCase(
        lambda _: DensityPlot(resolution=70, points=40), "images/density/0001.png", images=False
    ),
    "ood": CallbackCase(_elsewhere, "images/ood/0001.npz"),
    "truncation": CallbackCase(
        lambda _: TruncationPlot(40, every_n_epochs=1), "images/truncation/0001.npz"
    ),
    "mass": CallbackCase(
        lambda _: MassCertificate(600, points=40, every_n_epochs=1), "images/mass/0001.npz"
    ),
    "guard": CallbackCase(lambda _: NonFiniteGuard()),
    "predictions": CallbackCase(lambda _: PredictionWriter(), "predictions.npz"),
    "last checkpoint": CallbackCase(lambda _: LastCheckpoint(), "checkpoints/last.ckpt"),
    "ranking": CallbackCase(lambda _: ContributionRanking(epochs=1), module=_ranked, trains=True),
}


def drawers(shape: tuple[int, ...]) -> list[FlowCallback]:
    """Those of the cases that draw data of this shape."""
    planes = len(shape) == 1
    found = [case.build(shape) for case in CASES.values() if planes or case.images]
    return [callback for callback in found if isinstance(callback, FlowCallback)]


class Witness(pl.Callback):
    """Every rank leaves its weights, its random state and the names of files it can write."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def on_train_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self.root.mkdir(parents=True, exist_ok=True)
        state = {
            "weights": pl_module.state_dict(),
            "rng": torch.get_rng_state(),
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


def main(root: Path) -> None:
    record_writers()
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
