"""What flows lose whose layers all preserve volume, on two normals of unequal weight.

    python -m experiments.volume_preserving.run

Additive couplings move the values of their base density about, so the best they can do is known:
the point that has the k-th highest density of the data gets the k-th highest of the base. With a
base that is fixed, with one global scale (NICE as it was published), and with a learned radial
base they are trained on w·N(-5e₁, I) + (1 - w)·N(5e₁, I); divergences are by quadrature.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor

from experiments.common.command import begin, command_line
from experiments.common.results import Results
from experiments.common.tables import in_memory
from experiments.common.training import Budget, fit
from lightning_flows.bases import Density
from lightning_flows.core.shapes import Shape
from lightning_flows.flows import NICE, RadialBase
from lightning_flows.modules import DensityModule

__all__ = ["FLOWS", "WEIGHTS", "Best", "best", "divergence", "draw", "log_density", "main", "train"]

APART = 5.0
WEIGHTS = (0.5, 0.8, 0.9)
LAYERS, HIDDEN = 12, (64, 64)
ROWS, BATCH, RATE = 100_000, 512, 5e-3
REACH, CELL = 12.0, 1 / 32  # of the quadrature
PIECE = 50_000  # cells that are scored at a time
NEGLIGIBLE = 1e-12  # density of cells that are left out of divergences
ADDITIVE = partial(NICE, layers=LAYERS, hidden=HIDDEN, activation="silu", scaling=False)
FLOWS: dict[str, Callable[[Shape], Density]] = {
    "fixed base": ADDITIVE,
    "global scale": partial(ADDITIVE, scaling=True),
    "radial base": partial(ADDITIVE, base=RadialBase),
}


def draw(weight: float, n: int, seed: int) -> Tensor:
    """Points of the mixture, (n, 2)."""
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(n, 2, generator=generator)
    left = torch.rand(n, generator=generator) < weight
    x[:, 0] += torch.where(left, -APART, APART)
    return x


def log_density(weight: float, x: Tensor) -> Tensor:
    """Of the mixture at points (n, 2): (n,), nats."""
    logs = [
        math.log(share) - 0.5 * ((x[:, 0] - middle).square() + x[:, 1].square())
        for share, middle in ((weight, -APART), (1 - weight, APART))
    ]
    return torch.stack(logs).logsumexp(0) - math.log(2 * math.pi)


def cells() -> Tensor:
    """Midpoints of a grid over the plane, (n, 2), double precision."""
    line = torch.arange(-REACH + CELL / 2, REACH, CELL, dtype=torch.float64)
    return torch.cartesian_prod(line, line)


@dataclass(frozen=True)
class Best:
    """The least divergence that a flow can have whose layers preserve volume, nats.

    Args:
        fixed: with a standard normal base.
        scale: best standard deviation of the base.
        scaled: with a base of that scale.
    """

    fixed: float
    scale: float
    scaled: float


def best(weight: float) -> Best:
    """The least divergences, by quadrature over the decreasing rearrangement.

    A point with a volume V of points of higher density goes where the base has as much above it:
    at a squared radius of V/π. So -log q = log 2πs² + V/(2πs²), least at s² = E[V]/2π.
    """
    p, _ = log_density(weight, cells()).exp().sort(descending=True)
    mass = p * CELL**2
    volume = CELL**2 * (torch.arange(len(p), dtype=p.dtype) + 0.5)
    entropy = -(mass * p.log()).nansum()
    spread = (mass * volume).sum() / (2 * math.pi)
    fixed = math.log(2 * math.pi) + spread - entropy
    scaled = math.log(2 * math.pi) + spread.log() + 1 - entropy
    return Best(fixed.item(), spread.sqrt().item(), scaled.item())


@torch.no_grad()
def divergence(weight: float, flow: Density) -> float:
    """KL(data ‖ flow), nats, by quadrature."""
    x = cells()
    log_p = log_density(weight, x)
    inside = log_p > math.log(NEGLIGIBLE)
    x, log_p = x[inside], log_p[inside]
    log_q = torch.cat([flow.log_prob(piece.float()).double() for piece in x.split(PIECE)])
    return (log_p.exp() * CELL**2 * (log_p - log_q)).sum().item()


def train(name: str, weight: float, seed: int, steps: int) -> float:
    """Divergence of a flow that was trained for some steps; NaN where that failed."""
    data = in_memory({"train": draw(weight, ROWS, seed)}, BATCH, seed)
    budget = Budget.of(data, steps)
    torch.manual_seed(seed)
    module = DensityModule(FLOWS[name], 2, **budget.recipe(RATE))
    sound = fit(module, data, budget)
    return divergence(weight, module.flow) if sound else math.nan


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the experiment."""
    options = begin(command_line(__doc__, "volume_preserving", seeds=3, steps=4500), arguments)
    least = {weight: best(weight) for weight in WEIGHTS}
    facts = {
        "weights": list(WEIGHTS),
        "best": {
            "fixed base": [least[weight].fixed for weight in WEIGHTS],
            "global scale": [least[weight].scaled for weight in WEIGHTS],
            "radial base": [0.0 for _ in WEIGHTS],
        },
        "scales": [least[weight].scale for weight in WEIGHTS],
        "layers": LAYERS,
        "hidden": list(HIDDEN),
        "rows": ROWS,
        "batch": BATCH,
        "rate": RATE,
    }
    results = Results.begin(options, "volume_preserving", **facts)
    for seed in range(options.seeds):
        for weight in WEIGHTS:
            for name in FLOWS:
                found = train(name, weight, seed, options.steps)
                results.add(options.out, flow=name, weight=weight, seed=seed, divergence=found)


if __name__ == "__main__":
    main()
