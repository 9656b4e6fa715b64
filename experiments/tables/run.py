"""Joint training beside two steps on tables: families × data sets.

    LIGHTNING_FLOWS_DATA=data python -m experiments.tables.run

Every injective method has the same prior, a small spline flow over as many latents. Two-step
trains the autoencoder first, then that prior on its latents, each for half of the steps that joint
methods have, and once more for all of them. A bijective spline flow stands beside them for
reference.

The first of two steps is a `TwoStepModule`'s. The second is a `DensityModule` on its latents, so
that each step ends at the epoch that did best in it, and the prior is first seen, and initialized,
by latents that are learned.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor

from experiments.common.command import begin, command_line
from experiments.common.results import Results
from experiments.common.tables import TABLES, in_memory
from experiments.common.training import Budget, fit
from lightning_flows.bases.base import Density
from lightning_flows.flows import FreeFormFlow, NeuralSplineFlow, PaddedFlow, RealNVP
from lightning_flows.flows.injective import InjectiveFlow
from lightning_flows.metrics import frechet_distance, sliced_wasserstein
from lightning_flows.modules import (
    DensityModule,
    FlowModule,
    FreeFormModule,
    RectangularModule,
    TwoStepModule,
)
from lightning_flows.nets import ResidualDecoder, ResidualEncoder
from lightning_flows.objectives import StochasticVolume

__all__ = ["FREE", "JOINT", "METHODS", "PADDED", "SIZES", "Outcome", "main", "measure", "run"]

RATE, SAMPLES, BATCH = 3e-3, 10_000, 256
VALIDATION = 1000  # rows by which a checkpoint is chosen
WARMUP = 0.2  # share of the steps that joint methods spend on the reconstruction alone, at first
JOINT = {"joint, stochastic": "padded", "joint, free-form": "free"}
TWO_STEP = {"two-step, coupling flow": "padded", "two-step, free-form nets": "free"}
TWICE = {f"{name}, twice the steps": kind for name, kind in TWO_STEP.items()}
BIJECTIVE, ROWS = "bijective spline flow", "training rows themselves"
METHODS = (*JOINT, *TWO_STEP, *TWICE, BIJECTIVE, ROWS)
SIZES = {
    "power_plant": (3, 20.0),
    "protein": (5, 20.0),
    "naval": (9, 3000.0),
    "MINIBOONE": (21, 20.0),
}
"""Latents, and the weight β of the squared error, chosen on validation rows."""

PRIOR = partial(NeuralSplineFlow, layers=3, hidden=(32, 32), actnorm=True)
PADDED = partial(
    PaddedFlow,
    ambient=partial(RealNVP, layers=4, hidden=(64, 64), activation="tanh"),
    prior=PRIOR,
)
FREE = partial(
    FreeFormFlow,
    encoder=partial(ResidualEncoder, hidden=(128, 128)),
    decoder=partial(ResidualDecoder, hidden=(128, 128)),
    prior=PRIOR,
)
FLOWS = {"padded": PADDED, "free": FREE}


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


def run(
    name: str, sizes: tuple[int, float], rows: Mapping[str, Tensor], seed: int, steps: int
) -> Outcome:
    """Train one method once, and measure.

    Args:
        name: one of `METHODS`.
        sizes: number of latents, and β.
        rows: of "train", "val" and "test".
        seed: of weights, batches and samples.
        steps: that joint methods have.
    """
    torch.manual_seed(seed)
    if name == ROWS:
        return distances(rows["train"], rows["test"])
    used = {"train": rows["train"], "val": rows["val"][:VALIDATION]}
    data = in_memory(used, BATCH, seed)
    if name in TWO_STEP:
        steps = steps // 2  # of each of the two
    budget = Budget.of(data, steps)
    recipe = budget.recipe(RATE)
    if name == BIJECTIVE:
        flow = partial(NeuralSplineFlow, layers=6, hidden=(128, 128))
        module: FlowModule = DensityModule(flow, data.event_shape, **recipe)
        return measure(module.flow, rows) if fit(module, data, budget, best=True) else Outcome()
    latent, beta = sizes
    flow = partial(FLOWS[(JOINT | TWO_STEP | TWICE)[name]], latent_features=latent)
    if name in JOINT:
        options = {"reconstruction": beta, "warmup": budget.warmup(WARMUP), **recipe}
        if JOINT[name] == "free":
            module = FreeFormModule(flow, data.event_shape, **options)
        else:
            volume = StochasticVolume()
            module = RectangularModule(flow, data.event_shape, volume=volume, **options)
        return measure(module.flow, rows) if fit(module, data, budget, best=True) else Outcome()
    module = TwoStepModule(
        flow, data.event_shape, reconstruction=beta, manifold_epochs=budget.epochs, **recipe
    )
    if not fit(module, data, budget, best=True):
        return Outcome()
    injective = module.flow
    assert isinstance(injective, InjectiveFlow)
    with torch.no_grad():
        u = {split: injective.project(x) for split, x in used.items()}
    latents = in_memory(u, BATCH, seed)
    second = Budget.of(latents, steps)
    prior = DensityModule(PRIOR, latents.event_shape, **second.recipe(RATE))
    sound = fit(prior, latents, second, best=True)
    injective.prior = prior.flow
    return measure(injective, rows) if sound else Outcome()


@torch.no_grad()
def measure(flow: Density, rows: Mapping[str, Tensor]) -> Outcome:
    """Samples and densities beside test rows.

    An injective flow scores residuals as normal with the variance that it has on validation rows.
    """
    x = rows["test"]
    found = distances(flow.sample(SAMPLES), x)
    if not isinstance(flow, InjectiveFlow):
        return Outcome(found.frechet, found.sliced, -flow.log_prob(x).mean().item())

    variance = _errors(flow, rows["val"]).mean() / (x.shape[1] - flow.manifold_shape[0])
    beta = 0.5 / variance.item()
    scores = [flow.ambient_log_prob(piece, beta=beta) for piece in x.split(512)]
    nll = -torch.cat(scores).mean().item()
    return Outcome(found.frechet, found.sliced, nll, _errors(flow, x).mean().item())


def _errors(flow: InjectiveFlow, x: Tensor) -> Tensor:
    """Squared reconstruction errors, summed over columns: (n, D) -> (n,)."""
    return (x - flow.embed(flow.project(x))).square().sum(1)


def distances(samples: Tensor, x: Tensor) -> Outcome:
    """Distances of samples to rows; NaN where a sample is not finite."""
    if not samples.isfinite().all():
        return Outcome()
    frechet = frechet_distance(samples, x, standardize=False)
    return Outcome(frechet.item(), sliced_wasserstein(samples, x).item())


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the experiment."""
    parser = command_line(__doc__, "tables", data=True, seeds=5, steps=1000)
    parser.add_argument("--only", choices=SIZES, nargs="+", default=list(SIZES))
    options = begin(parser, arguments)
    facts = {"rate": RATE, "batch": BATCH, "samples": SAMPLES, "validation": VALIDATION}
    results = Results.begin(options, "tables", warmup=WARMUP, sizes={}, **facts)
    for seed in range(options.seeds):
        for name in options.only:
            rows = TABLES[name].load(options.data, seed)
            latent, beta = SIZES[name]
            results.facts["sizes"][name] = {
                "columns": rows["train"].shape[1],
                "latents": latent,
                "beta": beta,
                "train": len(rows["train"]),
                "test": len(rows["test"]),
            }
            for method in METHODS:
                found = run(method, SIZES[name], rows, seed, options.steps)
                results.add(options.out, data=name, method=method, seed=seed, **vars(found))


if __name__ == "__main__":
    main()
