"""Joint training beside two steps on tables: families × data sets.

    LIGHTNING_FLOWS_DATA=data python -m benchmarks.tables --out docs/tables.md

Every injective method has the same prior, a small spline flow over as many latents. Two-step
trains the autoencoder first, then that prior on its latents, each for as many steps as the joint
methods have in all. A bijective spline flow stands beside them for reference.
"""

import argparse
import math
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from statistics import mean, stdev
from typing import Any

import torch
from lightning_flows.datamodules import Arrays
from torch import Tensor

from benchmarks.training import (
    BATCH,
    WARMUP,
    fit_density,
    mean_and_error,
    train_joint,
)
from lightning_flows.bases.base import Density
from lightning_flows.flows import FreeFormFlow, NeuralSplineFlow, PaddedFlow, RealNVP
from lightning_flows.flows.injective import InjectiveFlow
from lightning_flows.jacobians import FreeFormVolume, NoVolume, StochasticVolume, Volume
from lightning_flows.metrics import frechet_distance, sliced_wasserstein
from lightning_flows.nets import ResidualDecoder, ResidualEncoder
from lightning_flows.transforms import Standardise

__all__ = ["METHODS", "TABLES", "Outcome", "Table", "main", "run"]

RATE, SAMPLES = 2e-3, 10_000
JOINT = {"joint, stochastic": "padded", "joint, free-form": "free"}
TWO_STEP = {"two-step, coupling flow": "padded", "two-step, free-form nets": "free"}
VOLUMES: dict[str, type[Volume]] = {"padded": StochasticVolume, "free": FreeFormVolume}
BIJECTIVE, ROWS = "bijective spline flow", "training rows themselves"
METHODS = (*JOINT, *TWO_STEP, BIJECTIVE, ROWS)


@dataclass(frozen=True)
class Table:
    """A data set, and what its flows are given.

    Args:
        path: file below the folder of data.
        latent: number of latents.
        beta: weight of the squared error in joint training, chosen on validation rows.
        options: arguments of `Arrays`, paths excepted.
        test_path: file of the test rows, where it is another one.
    """

    path: str
    latent: int
    beta: float
    options: Mapping[str, Any] = field(default_factory=lambda: {"key": "data"})
    test_path: str | None = None

    def load(self, folder: Path) -> dict[str, Tensor]:
        """Rows of "train", "val" and "test", in units of the training rows' deviation."""
        test = None if self.test_path is None else str(folder / self.test_path)
        data = Arrays(str(folder / self.path), test_path=test, **self.options)
        data.setup()
        rows = {name: split[0] for name, split in data.load().items()}
        if self.options.get("key") is None:  # published in such units
            return rows
        units = data.preprocess or Standardise(data.event_shape, minimum_scale=1e-3)
        if not units.fitted:
            units.fit(rows["train"])
        return {name: units.encode(x)[0] for name, x in rows.items()}


TABLES = {
    "MINIBOONE": Table(
        "miniboone/val.npy", 21, 20.0, {"standardise": False}, test_path="miniboone/test.npy"
    ),
    "protein": Table("uci_small/protein_tertiary_structure.npz", 5, 20.0),
    "power plant": Table("uci_small/power_plant.npz", 2, 10.0),
    "naval": Table(
        "uci_small/naval_propulsion_plant.npz",
        9,
        1000.0,
        {"key": "data", "redundant": "keep", "standardise": False},
    ),
}


@dataclass(frozen=True)
class Outcome:
    """Figures over test rows; all are NaN where training broke.

    Args:
        frechet: squared Fréchet distance between samples and rows.
        sliced: sliced Wasserstein distance between samples and rows.
        nll: mean negative ambient log-density, nats; NaN where there is none.
        error: mean squared reconstruction error; NaN where nothing is left out.
    """

    frechet: float = math.nan
    sliced: float = math.nan
    nll: float = math.nan
    error: float = math.nan


def run(name: str, table: Table, rows: Mapping[str, Tensor], seed: int, steps: int) -> Outcome:
    """Train one method once, and measure."""
    torch.manual_seed(seed)
    train = rows["train"]
    if name == ROWS:
        return distances(train, rows["test"])
    if name == BIJECTIVE:
        flow = NeuralSplineFlow(train.shape[1], layers=6, hidden=(128, 128))
        return measure(flow, rows) if fit_density(flow, train, steps, rate=RATE) else Outcome()
    kind = JOINT.get(name) or TWO_STEP[name]
    injective = make(kind, train.shape[1], table.latent)
    joint = name in JOINT
    volume = VOLUMES[kind]() if joint else NoVolume()
    sound = train_joint(injective, volume, train, steps, beta=table.beta, rate=RATE, prior=joint)
    if sound and not joint:
        with torch.no_grad():
            u = injective.project(train)
            injective.initialise(train)
        sound = fit_density(injective.prior, u, steps, rate=RATE)
    return measure(injective, rows) if sound else Outcome()


def make(kind: str, features: int, latent: int) -> InjectiveFlow:
    """A coupling flow with padding or free networks, with a small spline flow as the prior."""
    prior = partial(NeuralSplineFlow, layers=4, hidden=(64, 64), actnorm=True)
    if kind == "padded":
        ambient = partial(RealNVP, layers=6, hidden=(64, 64), activation="tanh")
        return PaddedFlow(features, latent_features=latent, ambient=ambient, prior=prior)
    return FreeFormFlow(
        features,
        latent_features=latent,
        encoder=partial(ResidualEncoder, hidden=(128, 128)),
        decoder=partial(ResidualDecoder, hidden=(128, 128)),
        prior=prior,
    )


@torch.no_grad()
def measure(flow: Density, rows: Mapping[str, Tensor], split: str = "test") -> Outcome:
    """Samples and densities beside the rows of a split.

    An injective flow scores residuals as normal with the variance that it has on validation rows.
    """
    x = rows[split]
    found = distances(flow.sample(SAMPLES), x)
    if not isinstance(flow, InjectiveFlow):
        return Outcome(found.frechet, found.sliced, -flow.log_prob(x).mean().item())

    def errors(x: Tensor) -> Tensor:
        return (x - flow.embed(flow.project(x))).square().sum(1)

    beta = 0.5 * (x.shape[1] - flow.manifold_shape[0]) / errors(rows["val"]).mean().item()
    scores = [flow.ambient_log_prob(piece, beta=beta) for piece in x.split(512)]
    nll = -torch.cat(scores).mean().item()
    return Outcome(found.frechet, found.sliced, nll, errors(x).mean().item())


def distances(samples: Tensor, x: Tensor) -> Outcome:
    """Distances of samples to rows; NaN where a sample is not finite."""
    if not samples.isfinite().all():
        return Outcome()
    frechet = frechet_distance(samples, x, standardise=False)
    return Outcome(frechet.item(), sliced_wasserstein(samples, x).item())
