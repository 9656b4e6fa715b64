"""A LightningModule and data that inherit nothing of ours, and a Trainer to try them with."""

from pathlib import Path
from typing import Any

import lightning.pytorch as pl
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset

from lightning_flows.callbacks import (
    ComponentExtraction,
    DensityPlot,
    NonFiniteGuard,
    ReconstructionGrid,
    SampleGrid,
)

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
