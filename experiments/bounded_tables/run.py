"""Bounded objectives beside the joint ones that are not bounded: tables.

    LIGHTNING_FLOWS_DATA=data python -m experiments.bounded_tables.run

Data, networks, prior and steps are those of the experiment on tables. Joint methods without a bound
have their warm-up there; bounded ones have none, and learn their scale instead.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from functools import partial
from typing import Any

import torch
from torch import Tensor

from experiments.common.command import begin, command_line
from experiments.common.results import Results
from experiments.common.tables import TABLES, in_memory
from experiments.common.training import Budget, fit
from experiments.tables.run import (
    BATCH,
    FREE,
    JOINT,
    PADDED,
    RATE,
    SAMPLES,
    SIZES,
    VALIDATION,
    WARMUP,
    measure,
    run,
)
from lightning_flows.modules import OffManifoldModule, VariationalModule
from lightning_flows.modules.bounded import BoundedModule
from lightning_flows.objectives import LearnedScale

__all__ = ["BOUNDED", "METHODS", "main"]

START, FLOOR = 2.0, 0.1
"""Of the scale, in units of the standard deviation 1/√(2β) that goes with β."""

WEIGHT = 0.1
"""Of the reconstruction beside the likelihood, in units of β."""

Make = Callable[[int, Sequence[int], LearnedScale, float, dict[str, Any]], BoundedModule]

BOUNDED: dict[str, Make] = {
    "off-manifold": lambda d, shape, scale, beta, recipe: OffManifoldModule(
        partial(PADDED, latent_features=d),
        shape,
        scale=scale,
        reconstruction=WEIGHT * beta,
        **recipe,
    ),
    "off-manifold, likelihood alone": lambda d, shape, scale, _, recipe: OffManifoldModule(
        partial(PADDED, latent_features=d), shape, scale=scale, **recipe
    ),
    "variational": lambda d, shape, scale, _, recipe: VariationalModule(
        partial(FREE, latent_features=d), shape, scale=scale, **recipe
    ),
}
METHODS = (*JOINT, *BOUNDED)


def train(
    name: str, sizes: tuple[int, float], rows: Mapping[str, Tensor], seed: int, steps: int
) -> dict[str, float]:
    """Train one bounded module once, and measure.

    Args:
        name: one of `BOUNDED`.
        sizes: number of latents, and β.
        rows: of "train", "val" and "test".
        seed: of weights, batches and samples.
        steps: of training.
    """
    torch.manual_seed(seed)
    latent, beta = sizes
    data = in_memory({"train": rows["train"], "val": rows["val"][:VALIDATION]}, BATCH, seed)
    budget = Budget.of(data, steps)
    unit = (2 * beta) ** -0.5
    scale = LearnedScale(START * unit, FLOOR * unit)
    module = BOUNDED[name](latent, data.event_shape, scale, beta, budget.recipe(RATE))
    if not fit(module, data, budget, best=True):
        return {"bound": math.nan}
    with torch.no_grad():
        scores = [module.ambient_log_prob(piece) for piece in rows["test"].split(512)]
    found = asdict(measure(module.flow, rows))
    scale_now = module.scale.scoring().mean().item()
    return {**found, "bound": -torch.cat(scores).mean().item(), "scale": scale_now}


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the experiment."""
    parser = command_line(__doc__, "bounded_tables", data=True, seeds=5, steps=1000)
    parser.add_argument("--only", choices=SIZES, nargs="+", default=list(SIZES))
    options = begin(parser, arguments)
    facts = {"rate": RATE, "batch": BATCH, "samples": SAMPLES, "validation": VALIDATION}
    facts |= {"warmup": WARMUP, "start": START, "floor": FLOOR, "weight": WEIGHT}
    results = Results.begin(options, "bounded_tables", sizes={}, **facts)
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
                if method in JOINT:
                    found = asdict(run(method, SIZES[name], rows, seed, options.steps))
                    found["bound"] = math.nan  # none is known
                else:
                    found = train(method, SIZES[name], rows, seed, options.steps)
                results.add(options.out, data=name, method=method, seed=seed, **found)


if __name__ == "__main__":
    main()
