"""Pairs of an encoder and a decoder, and their Jacobians by autograd, row by row."""

from collections.abc import Callable
from functools import partial
from pathlib import Path

import lightning.pytorch as pl
import torch
from torch import Tensor, nn
from torch.func import jacrev, vmap

from lightning_flows import DensityModule, FreeFormFlow, FreeFormModule, RealNVP
from lightning_flows.datamodules import Arrays
from lightning_flows.modules.base import FlowModule
from lightning_flows.nets import MLPDecoder, MLPEncoder
from proofs.common import near

EVENT, LATENT, BATCH = (2, 3), 3, 5


class Apart(nn.Module):
    """A smooth encoder and decoder that do not undo each other."""

    def __init__(self, scale: float = 1.0) -> None:
        super().__init__()
        torch.manual_seed(1)
        self.down = nn.Sequential(nn.Linear(6, 7), nn.Tanh(), nn.Linear(7, LATENT))
        self.skip_down = nn.Linear(6, LATENT)
        self.up = nn.Sequential(nn.Linear(LATENT, 7), nn.Tanh(), nn.Linear(7, 6))
        self.skip_up = nn.Linear(LATENT, 6)
        self.double()
        with torch.no_grad():
            for parameter in self.parameters():
                parameter *= scale

    def encode(self, x: Tensor) -> Tensor:
        flat = x.flatten(1)
        u: Tensor = self.down(flat) + self.skip_down(flat)
        return u

    def decode(self, u: Tensor) -> Tensor:
        x: Tensor = self.up(u) + self.skip_up(u)
        return x.unflatten(1, EVENT)


class Consistent(nn.Module):
    """A curved bijection: the Jacobian of its encoder is the inverse of its decoder's."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(2)
        self.flow = RealNVP(6, layers=3, hidden=(6,), activation="tanh").double().transform
        with torch.no_grad():
            for parameter in self.parameters():
                parameter += 0.3 * torch.randn_like(parameter)

    def encode(self, x: Tensor) -> Tensor:
        u: Tensor = self.flow.encode(x.flatten(1))[0]
        return u

    def decode(self, u: Tensor) -> Tensor:
        x: Tensor = self.flow.decode(u)[0]
        return x.unflatten(1, EVENT)


Pair = Apart | Consistent


def points(n: int = BATCH) -> Tensor:
    generator = torch.Generator().manual_seed(2)
    return torch.randn(n, *EVENT, dtype=torch.float64, generator=generator)


def brute(fn: Callable[[Tensor], Tensor], x: Tensor) -> Tensor:
    """Jacobians, (batch, out, in)."""
    j: Tensor = vmap(jacrev(lambda point: fn(point[None])[0].flatten()))(x)
    return j.flatten(2)


def gradient(total: Tensor, pair: nn.Module) -> Tensor:
    """Of a sum, with respect to all parameters, in one vector."""
    if not total.requires_grad:
        return torch.zeros(sum(p.numel() for p in pair.parameters()), dtype=total.dtype)
    found = torch.autograd.grad(total, list(pair.parameters()), materialize_grads=True)
    return torch.cat([part.flatten() for part in found])


def check_average(draws: Tensor, expected: Tensor, *, precise: float = 0.05) -> None:
    """Draws of a vector, (n, k), have it as their mean, as a whole and entry by entry."""
    error = draws.std(0) / len(draws) ** 0.5
    moved = error > 1e-9 * expected.abs().max()
    near(draws.mean(0)[~moved], expected[~moved], 1e-6)
    scores = (draws.mean(0) - expected)[moved] / error[moved]
    assert scores.abs().max() < 4.5
    assert scores.square().mean() < 2
    along = draws @ expected / expected.square().sum()
    spread = along.std() / len(draws) ** 0.5
    assert spread < precise, "too few draws to notice a bias"
    assert (along.mean() - 1).abs() < 4 * spread


_SMALL = partial(RealNVP, layers=2, hidden=(8,), activation="tanh")
_FREE = partial(
    FreeFormFlow,
    latent_features=2,
    encoder=partial(MLPEncoder, hidden=(8,)),
    decoder=partial(MLPDecoder, hidden=(8,)),
    prior=_SMALL,
)
MODULES: dict[str, Callable[..., FlowModule]] = {
    "density": partial(DensityModule, _SMALL, 4),
    "injective": partial(FreeFormModule, _FREE, 4),
}
"""The smallest modules that take parts of a loss; data has four entries."""


def table(n: int = 32) -> Arrays:
    """Correlated columns, in batches of 16."""
    x = torch.randn(n, 4, generator=torch.Generator().manual_seed(1))
    return Arrays(data=x @ (torch.eye(4) + 0.5), validation=0.25, test=0.25, batch_size=16)


def fitted(model: FlowModule, folder: Path) -> dict[str, Tensor]:
    """Train for two steps, load what was saved, and give what was logged."""
    trainer = pl.Trainer(
        accelerator="cpu",
        default_root_dir=folder,
        max_steps=2,
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        log_every_n_steps=1,
    )
    before = [p.detach().clone() for p in model.parameters()]
    trainer.fit(model, table())
    assert any(not torch.equal(a, b) for a, b in zip(before, model.parameters(), strict=True))
    trainer.save_checkpoint(folder / "x.ckpt")
    again = type(model).load_from_checkpoint(folder / "x.ckpt", weights_only=True)
    assert dict(again.hparams) == dict(model.hparams)
    assert all(value.isfinite() for value in trainer.callback_metrics.values())
    return dict(trainer.callback_metrics)
