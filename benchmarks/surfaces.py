"""Components of flows trained on noisy surfaces in space, and the floor of their likelihood.

    python -m benchmarks.surfaces --out docs/results.md --figure docs/images/surfaces.png

The last axis should be the normal of the surface, and two directions should count. On an S-curve
without noise, a Tikhonov term of weight α and noise of variance 2α on the data should agree, and
without either the likelihood should have no floor.
"""

import argparse
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from statistics import mean

import torch
from lightning_flows.datamodules import Toy
from torch import Tensor

from benchmarks.report import write_section
from benchmarks.training import descend
from lightning_flows.families import DensityFlow
from lightning_flows.flows import RealNVP
from lightning_flows.jacobians import Components, components
from lightning_flows.plots.canvas import DATA, SERIES, figure, plain, point_panels, save_png, title

__all__ = ["NORMALS", "REGULARISERS", "Outcome", "main", "normal_cosines", "train"]

ALPHA = 1e-3
NOISE = 0.02  # of the points of all surfaces, small beside √(2α)
BATCH, RATE, POINTS = 512, 5e-3, 1000
FLOW = partial(RealNVP, layers=8, hidden=(64, 64), activation="tanh", mixing="lu")
STAGES = 3

REGULARISERS = {
    "α = 1e-3": {"tikhonov": ALPHA},
    "noise, σ² = 2e-3": {"noise": math.sqrt(2 * ALPHA)},
    "neither": {},
}


def _swiss_roll_normal(x: Tensor) -> Tensor:
    radius, angle = 5 * x[:, [0, 2]].norm(dim=1), torch.atan2(x[:, 2], x[:, 0])
    turn = 2 * math.pi
    angle = angle + turn * ((radius - angle) / turn).round()  # the turn that the radius tells
    across = -(angle.sin() + angle * angle.cos())
    return torch.stack([across, torch.zeros_like(angle), angle.cos() - angle * angle.sin()], 1)


def _s_curve_normal(x: Tensor) -> Tensor:
    """Away from the nearer of the two circles' centres, (0, ±1)."""
    return torch.stack([x[:, 0], torch.zeros_like(x[:, 1]), x[:, 2] - x[:, 2].sign()], 1)


def _torus_normal(x: Tensor) -> Tensor:
    """Away from the circle of radius 1.5 inside the tube."""
    across = x[:, :2]
    centre = 1.5 * across / across.norm(dim=1, keepdim=True)
    return torch.cat([across - centre, x[:, 2:]], 1)


NORMALS: dict[str, Callable[[Tensor], Tensor]] = {
    "s_curve": _s_curve_normal,
    "swiss_roll": _swiss_roll_normal,
    "sphere": lambda x: x,
    "torus": _torus_normal,
}
"""Normals of the surfaces of `Toy` at points on them or close by, of any length: (n, 3)."""


@dataclass(frozen=True)
class Outcome:
    """What a flow knew at the end of one stage of its training.

    Args:
        nll: mean over test points without the regularisation, nats.
        cosine: median |cos| between the last axis and the true normal.
        flat: share of points where two directions count.
        variances: medians of the variances less what the regularisation adds, widest first.
        found: the components at the test points.
    """

    nll: float
    cosine: float
    flat: float
    variances: Sequence[float]
    found: Components


def normal_cosines(found: Components, name: str) -> Tensor:
    """|cos| between the last axis and the normal of a surface, (n,)."""
    true = torch.nn.functional.normalize(NORMALS[name](found.points), dim=1)
    cosines: Tensor = (found.axes[:, -1] * true).sum(1).abs()
    return cosines


def train(name: str, kind: str, seed: int, steps: int, *, noise: float = NOISE) -> list[Outcome]:
    """Train a flow in stages, each with a learning rate that falls to zero; one outcome for each.

    A run whose gradient is not finite ends with the stage before.
    """
    torch.manual_seed(seed)
    options = REGULARISERS[kind]
    data = Toy(name, noise=noise, n_train=20_000, n_test=POINTS, seed=seed)
    splits = data.load()
    x, test = splits["train"][0], splits["test"][0]
    module = DensityFlow(FLOW, data.event_shape, **options)

    def loss(_: int) -> Tensor:
        return module.training_loss(x[torch.randint(len(x), (BATCH,))], None)[0]

    outcomes: list[Outcome] = []
    for _ in range(STAGES):
        if not descend(module, loss, math.ceil(steps / STAGES), rate=RATE):
            break
        with torch.no_grad():
            nll = -module.log_prob(test).mean().item()
        found = components(module.encode, module.decode, test, **options)
        outcomes.append(
            Outcome(
                nll,
                normal_cosines(found, name).median().item(),
                (found.dimension == 2).float().mean().item(),
                found.variances.median(0).values.tolist(),
                found,
            )
        )
    return outcomes
