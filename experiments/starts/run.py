"""Whether bounded objectives recover from starts that are chosen against them.

    python -m experiments.starts.run

Each start is trained as long as a normal one of the same seed, on a sine with noise of standard
deviation 0.3, and the losses of points that are never trained on are compared in the end.
"""

import math
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from experiments.common.command import begin, command_line
from experiments.common.noisy import NOISY
from experiments.common.results import Results
from experiments.common.training import Budget, fit
from experiments.stability.run import curvature
from lightning_flows.bases import Normal
from lightning_flows.flows import FreeFormFlow, PaddedFlow, RealNVP
from lightning_flows.flows.injective import InjectiveFlow
from lightning_flows.modules import FlowModule, OffManifoldModule, VariationalModule
from lightning_flows.nets import ResidualDecoder, ResidualEncoder
from lightning_flows.objectives import LearnedScale
from lightning_flows.transforms import LULinear

__all__ = ["METHODS", "STARTS", "main"]

ROWS, FRESH, BATCH, RATE = 25_600, 4096, 256, 3e-3
CURVED, LARGE, SMALL = 1000.0, 50.0, 1e-3
SIZES = [0.02 * 1.15**k for k in range(35)]  # of changes to weights, up to 2.3
SCALE = partial(LearnedScale, 1.0, floor=0.05)
PADDED = partial(
    PaddedFlow,
    latent_features=1,
    ambient=partial(RealNVP, layers=4, hidden=(32, 32), activation="silu", mixing="lu"),
    prior=Normal,
)
FREE = partial(
    FreeFormFlow,
    latent_features=1,
    encoder=partial(ResidualEncoder, hidden=(64, 64)),
    decoder=partial(ResidualDecoder, hidden=(64, 64)),
    prior=Normal,
)
METHODS: dict[str, Callable[[dict[str, Any]], FlowModule]] = {
    "off-manifold": lambda options: OffManifoldModule(PADDED, 2, scale=SCALE(), **options),
    "variational": lambda options: VariationalModule(FREE, 2, scale=SCALE(), **options),
}


@torch.no_grad()
def curved(flow: InjectiveFlow, x: Tensor) -> None:
    """Random weights, ever larger, until the curve bends by `CURVED` at some point.

    Where they become too large before, others are drawn.
    """
    part = flow.ambient if isinstance(flow, PaddedFlow) else flow.decoder
    start = [p.clone() for p in part.parameters()]
    while True:
        directions = [torch.randn_like(p) for p in start]
        for size in SIZES:
            for p, at, direction in zip(part.parameters(), start, directions, strict=True):
                p.copy_(at + size * direction)
            bends = curvature(flow, flow.project(x))
            if not bends.isfinite().all():
                break
            if bends.max() >= CURVED:
                return


@torch.no_grad()
def large(flow: InjectiveFlow, x: Tensor) -> None:
    """Latents of standard deviation `LARGE`."""
    factor = LARGE / flow.project(x).std().item()
    if isinstance(flow, PaddedFlow):
        _last_linear(flow).log_diagonal += math.log(factor)
    else:
        for weight in _between(flow.encoder).parameters():
            weight *= factor


@torch.no_grad()
def collapsed(flow: InjectiveFlow, x: Tensor) -> None:
    """A manifold whose points lie within `SMALL` of each other."""
    if isinstance(flow, PaddedFlow):
        _last_linear(flow).log_diagonal -= math.log(SMALL)
    else:
        for weight in _between(flow.decoder).parameters():
            weight *= SMALL


def _last_linear(flow: PaddedFlow) -> LULinear:
    return [part for part in flow.ambient.modules() if isinstance(part, LULinear)][-1]


def _between(coder: nn.Module) -> nn.Linear:
    """The linear map between data space and latent space."""
    assert isinstance(coder.layers, nn.Sequential)
    return next(part for part in coder.layers if isinstance(part, nn.Linear))


STARTS: dict[str, tuple[Callable[[InjectiveFlow, Tensor], None] | None, float]] = {
    "normal": (None, 1.0),
    "curvature 1000": (curved, 1.0),
    "collapsed to a point": (collapsed, 1.0),
    "latents of size 50": (large, 1.0),
    "ten times the learning rate": (None, 10.0),
}
"""What is done to a flow, given data, before it is trained, and the factor of the rate."""


def train(method: str, start: str, seed: int, steps: int) -> dict[str, Any]:
    """Train one module from one start: mean loss of fresh data above their entropy, and more."""
    noisy = NOISY["sine"]
    data = noisy.data(ROWS, BATCH, seed)
    budget = Budget.of(data, steps)
    fresh = noisy.draw(FRESH, 10_000 + seed)
    change, factor = STARTS[start]
    torch.manual_seed(seed)
    module = METHODS[method](budget.recipe(factor * RATE))
    if change is not None:
        change(module.flow, data.load()["train"]["x"][:1000])
    begun = _loss(module, fresh)
    sound = fit(module, data, budget)
    excess = _loss(module, fresh) + noisy.log_prob(fresh).mean().item()
    return {
        "begun": begun,
        "excess": excess if sound else math.nan,
        "scale": module.scale.scoring().mean().item(),
        "sound": sound,
    }


@torch.no_grad()
def _loss(module: FlowModule, x: Tensor) -> float:
    module.eval()
    return module.objective_nll(x.float()).double().mean().item()


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the experiment."""
    parser = command_line(__doc__, "starts", seeds=10, steps=1500)
    options = begin(parser, arguments)
    facts = {"rows": ROWS, "fresh": FRESH, "batch": BATCH, "rate": RATE}
    results = Results.begin(options, "starts", sigma=NOISY["sine"].sigma, **facts)
    for seed in range(options.seeds):
        for method in METHODS:
            for start in STARTS:
                found = train(method, start, seed, options.steps)
                results.add(options.out, method=method, start=start, seed=seed, **found)


if __name__ == "__main__":
    main()
