"""Flows of noisy surfaces in space, trained in stages, and what their components are then."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor

from experiments.common.normals import normal_cosines
from experiments.common.training import Budget, fit
from lightning_flows.components import components
from lightning_flows.components.dimension import count_dimension, shrinkage
from lightning_flows.datamodules import Toy
from lightning_flows.datamodules.toy import ToyName
from lightning_flows.flows import RealNVP
from lightning_flows.modules import DensityModule
from lightning_flows.objectives import Tikhonov

__all__ = ["ALPHA", "BATCH", "NEITHER", "NOISY", "RATE", "TIKHONOV", "End", "Stage", "train"]

ALPHA, BATCH, RATE, POINTS = 1e-3, 256, 3e-3, 1000
# smooth: flows of splines cut surfaces, and share the normal's latent between the pieces
FLOW = partial(RealNVP, layers=16, hidden=(64, 64), activation="silu", mixing="lu")

TIKHONOV, NOISY, NEITHER = "α = 1e-3", "noise, σ² = 2e-3", "neither"
REGULARIZERS: dict[str, dict[str, float]] = {
    TIKHONOV: {"tikhonov": ALPHA},
    NOISY: {"noise": math.sqrt(2 * ALPHA)},
    NEITHER: {},
}


@dataclass(frozen=True)
class End:
    """What a flow knew at the end of a stage of its training.

    Args:
        kind: how the stage was regularized.
        nll: mean over test points without the regularization, nats.
        cosine: median |cos| between the last axis and the true normal.
        scales: standard deviations along the axes, widest first, (n, 3).
        points: the test points, (n, 3).
        axes: their components, (n, 3, 3).
    """

    kind: str
    nll: float
    cosine: float
    scales: Tensor
    points: Tensor
    axes: Tensor

    @property
    def widths(self) -> list[float]:
        """Medians of 1/s² along the axes, nothing subtracted."""
        medians: list[float] = self.scales.square().median(0).values.tolist()
        return medians

    def dimensions(self, threshold: float) -> Tensor:
        """Number of directions beyond this multiple of what the regularization adds, (n,)."""
        floor = shrinkage(**{"tikhonov": 0.0, "noise": 0.0} | REGULARIZERS[self.kind])
        return count_dimension(self.scales.square() - floor, floor, threshold, 0.0)


@dataclass(frozen=True)
class Stage:
    """A part of a training.

    Args:
        kind: how it is regularized.
        steps: how many.
        rate: learning rate at first.
        batch: points in a step.
    """

    kind: str
    steps: int
    rate: float = RATE
    batch: int = BATCH


def train(name: ToyName, stages: Sequence[Stage], seed: int, *, noise: float) -> list[End]:
    """Train a flow in stages, each with its regularizer and a learning rate that falls to zero.

    Each stage is a module of its own, which starts from the weights of the one before. A run whose
    parameters are not finite ends with the stage before.

    Args:
        name: the surface.
        stages: what is done one after the other.
        seed: of the data and of the training.
        noise: standard deviation of noise that belongs to the points.
    """
    ends: list[End] = []
    weights = None
    for stage in stages:
        data = Toy(
            name,
            noise=noise,
            n_train=20_000,
            n_val=0,
            n_test=POINTS,
            batch_size=stage.batch,
            seed=seed,
        )
        options, budget = REGULARIZERS[stage.kind], Budget.of(data, stage.steps)
        torch.manual_seed(1000 * seed + len(ends))  # another order and other noise in each
        module = DensityModule(
            FLOW,
            data.event_shape,
            penalties=[Tikhonov(options["tikhonov"])] if "tikhonov" in options else [],
            noise=options.get("noise", 0.0),
            **budget.recipe(stage.rate),
        )
        if weights is not None:
            module.load_state_dict(weights)
        if not fit(module, data, budget):
            break
        weights, test = module.state_dict(), data.load()["test"]["x"]
        with torch.no_grad():
            nll = -module.log_prob(test).mean().item()
        found = components(module.encode, module.decode, test, through="encode", **options)
        cosine = normal_cosines(found, name).median().item()
        ends.append(End(stage.kind, nll, cosine, found.scales, test, found.axes))
    return ends
