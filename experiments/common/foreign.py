"""What a model of images thinks of foreign ones: data, training and scores of the experiments."""

import itertools
import math
import shutil
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch
from torch import Tensor

from experiments.common.training import Budget, fit, sound
from lightning_flows.core.shapes import size, sum_event
from lightning_flows.datamodules import MNIST, FashionMNIST, ImageDataModule, NotMNIST
from lightning_flows.metrics import auroc, stump_accuracy
from lightning_flows.modules import FlowModule, InjectiveModule

__all__ = ["FOREIGN", "MODULES", "Outcome", "load", "own_copy", "run", "score", "train"]

BATCH, ALPHA, EPOCHS, CHUNK = 128, 1e-6, 20, 100
TEST, STUMP, VALIDATION = 1000, 500, 500  # images of each set that are scored
MODULES: dict[str, type[ImageDataModule]] = {
    "MNIST": MNIST,
    "Fashion-MNIST": FashionMNIST,
    "notMNIST": NotMNIST,
}
FOREIGN = {"MNIST": ("Fashion-MNIST", "notMNIST"), "Fashion-MNIST": ("MNIST",)}
"""By training set, those that its models are asked about."""

ON_MANIFOLD, AMBIENT, ERROR = "density on manifold", "density of pixels", "reconstruction"


@dataclass(frozen=True)
class Outcome:
    """What one trained model was worth.

    Args:
        auroc: by foreign set and score; empty where training broke.
        stump: accuracy of the decision stump, likewise.
        fit: means over validation images of the training set, by name of the score.
        seconds: CPU time of training and scoring.
    """

    auroc: Mapping[tuple[str, str], float]
    stump: Mapping[tuple[str, str], float]
    fit: Mapping[str, float]
    seconds: float

    @property
    def record(self) -> dict[str, Any]:
        """The same as plain data: foreign sets by their names, scores by theirs within."""
        found: dict[str, Any] = {"auroc": {}, "stump": {}}
        for measure, values in found.items():
            for (other, score), value in getattr(self, measure).items():
                values.setdefault(other, {})[score] = value
        return {**found, "fit": dict(self.fit), "seconds": self.seconds}


@contextmanager
def own_copy(source: Path) -> Iterator[str]:
    """A folder with copies of the raw files, where torchvision may unpack them."""
    with TemporaryDirectory() as folder:
        for name in ("MNIST", "FashionMNIST", "notMNIST"):
            raw, copy = (Path(root, name, "raw") for root in (source, folder))
            if raw.is_dir():
                copy.mkdir(parents=True)
                for file in raw.iterdir():
                    shutil.copyfile(file, copy / file.name)
        yield folder


def load(name: str, folder: str, seed: int) -> ImageDataModule:
    """A data module that is ready for use."""
    module: Any = MODULES[name]
    data: ImageDataModule = module(folder, alpha=ALPHA, batch_size=BATCH, seed=seed)
    data.prepare_data()
    data.setup()
    return data


def images(data: ImageDataModule, split: str, n: int, seed: int) -> Tensor:
    """At most n images of a split, drawn at random: (n, 1, 28, 28)."""
    x: Tensor = getattr(data, f"{split}_dataloader")().dataset.tensors["x"]
    return x[torch.randperm(len(x), generator=torch.Generator().manual_seed(seed))[:n]]


def train(
    make: Callable[..., FlowModule], data: ImageDataModule, seed: int, steps: int
) -> FlowModule:
    """Train a model for this many steps, in epochs of equal length."""
    torch.manual_seed(seed)
    model = make(data.event_shape)
    fit(model, data, Budget(EPOCHS, max(1, steps // EPOCHS)))
    return model


def fitted_beta(model: InjectiveModule, x: Tensor) -> float:
    """The weight β that Gaussian residuals of these images have, at maximum likelihood."""
    with torch.no_grad():
        y, _ = model.to_model_space(x)
        residual = sum_event((y - model.flow.embed(model.flow.project(y))).square()).mean()
    return (size(model.event_shape) - size(model.latent_shape)) / (2 * residual.item())


@torch.no_grad()
def score(model: FlowModule, x: Tensor, *, beta: float | None = None) -> dict[str, Tensor]:
    """How foreign images look to a model: by score (n,), high for foreign ones.

    Densities are negative log-densities in nats with the contribution of the preprocessing, of
    pixels or of volume of the manifold in the space of pixels. The reconstruction error is squared
    and in gray levels. NaN count as most foreign.

    Args:
        model: trained.
        x: integers, (n, 1, 28, 28).
        beta: weight of residuals in the density of pixels of an injective model.
    """
    parts: list[dict[str, Tensor]] = []
    for piece in x.split(CHUNK):
        density = -model.log_prob(piece)
        if not isinstance(model, InjectiveModule):
            parts.append({AMBIENT: density})
            continue
        y, contribution = model.to_model_space(piece)
        ambient = model.flow.ambient_log_prob(y, beta=model.beta if beta is None else beta)
        error = sum_event((piece - model.reconstruct(piece)).square())
        parts.append({ON_MANIFOLD: density, AMBIENT: -ambient - contribution, ERROR: error})
    joined = {name: torch.cat([part[name] for part in parts]) for name in parts[0]}
    return {name: torch.where(s.isnan(), torch.inf, s) for name, s in joined.items()}


def run(
    make: Callable[..., FlowModule],
    own: ImageDataModule,
    foreign: Mapping[str, ImageDataModule],
    *,
    seed: int,
    steps: int,
) -> Outcome:
    """Train a model on a data set, and see how it tells foreign ones."""
    start = time.process_time()
    model = train(make, own, seed, steps)
    fit = {AMBIENT: math.nan}
    beta = None
    if sound(model):
        validation = images(own, "val", VALIDATION, seed)
        if isinstance(model, InjectiveModule):
            beta = fitted_beta(model, validation)
        fit = {kind: float(s.mean()) for kind, s in score(model, validation, beta=beta).items()}
    areas, accuracies = {}, {}
    if all(map(math.isfinite, fit.values())):
        sizes = {"train": STUMP, "test": TEST}
        scores = {
            (side, split): score(model, images(data, split, n, seed), beta=beta)
            for side, data in {"own": own, **foreign}.items()
            for split, n in sizes.items()
        }
        for other, kind in itertools.product(foreign, fit):
            four = [scores[side, split][kind] for split in sizes for side in ("own", other)]
            areas[other, kind] = float(auroc(*four[2:]))
            accuracies[other, kind] = float(stump_accuracy(*four))
    return Outcome(areas, accuracies, fit, time.process_time() - start)
