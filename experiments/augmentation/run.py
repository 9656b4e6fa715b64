"""Flows with added dimensions of noise beside the same flows without, on a checkerboard.

    python -m experiments.augmentation.run

The lower bounds of flows with one or two added dimensions are compared with the density that they
have, an integral over the added dimensions.
"""

import math
from collections.abc import Sequence
from functools import partial

import torch
from torch import Tensor

from experiments.common.command import begin, command_line
from experiments.common.pairs import KINDS, RATE, ROWS, Case, Kind, train
from experiments.common.results import Results
from lightning_flows.bases import ConditionalNormal
from lightning_flows.flows import NICE, ComposedFlow, NeuralSplineFlow, RealNVP
from lightning_flows.modules import SurjectiveModule
from lightning_flows.transforms import Augment

__all__ = ["CASES", "integral", "main", "run"]

BOUNDED = 300  # test rows that are scored
REACH, CELLS = 8.0, {1: 800, 2: 200}  # of the integral over the added dimensions, of each
ADDITIVE = partial(NICE, layers=12, hidden=(64, 64), mixing="lu")
AFFINE = partial(RealNVP, layers=4, hidden=(64, 64), mixing="permutation")
SPLINES = partial(NeuralSplineFlow, layers=6, bins=8)
# units that die as long as the noise is of no use yet, as ReLUs do, cannot learn it later
NOISE = partial(Augment, density=partial(ConditionalNormal, hidden=(32, 32), activation="silu"))
CASES = (
    Case(
        "checkerboard",
        "additive",
        ADDITIVE,
        partial(ComposedFlow, layers=[partial(NOISE, add=2), ADDITIVE]),
        longer=4,
    ),
    Case(
        "checkerboard",
        "affine",
        AFFINE,
        partial(ComposedFlow, layers=[partial(NOISE, add=2), AFFINE]),
        longer=4,
    ),
    Case(
        "checkerboard",
        "spline",
        partial(SPLINES, hidden=(64, 64)),
        partial(ComposedFlow, layers=[partial(NOISE, add=1), partial(SPLINES, hidden=(58, 58))]),
    ),
)


@torch.no_grad()
def run(case: Case, kind: Kind, seed: int, steps: int, draws: int) -> dict[str, float]:
    """Mean figures of test points in nats; higher is better.

    Returns:
        "log_prob" of the flow, by quadrature where it gives a bound; "best", that of the data
        itself; of a bound also "elbo", the mean over all draws, and "iwbo", the importance-weighted
        bound of all draws.
    """
    module, data, sound = train(case, kind, seed, steps)
    x = data.load()["test"]["x"][:BOUNDED]
    found = {"best": data.true_log_prob(x.double()).mean().item(), "log_prob": math.nan}
    if not sound:
        return found
    if module.exact:
        return found | {"log_prob": module.log_prob(x).mean().item()}
    weights = module.log_weights(x, n=draws)
    iwbo = (weights.logsumexp(1) - math.log(draws)).mean().item()
    own = integral(module, x).mean().item()
    return found | {"log_prob": own, "elbo": weights.mean().item(), "iwbo": iwbo}


def integral(model: SurjectiveModule, x: Tensor) -> Tensor:
    """Log-density (n,) of a flow that adds one or two entries first: ∫ p(x, u) du by midpoints."""
    augment, *others = model.flow.transform.transforms
    assert isinstance(augment, Augment)
    added = augment.latent_shape[0] - x.shape[1]
    step = 2 * REACH / CELLS[added]
    line = -REACH + step * (torch.arange(CELLS[added]) + 0.5)
    u = torch.cartesian_prod(*[line] * added).reshape(-1, added)
    pieces = []
    for row in x:
        z = torch.cat([row.expand(len(u), -1), u], 1)
        total = torch.zeros(len(u))
        for transform in others:
            z, contribution = transform.encode(z)
            total = total + contribution
        scores = model.flow.base.log_prob(z) + total
        pieces.append(scores.logsumexp(0) + added * math.log(step))
    return torch.stack(pieces)


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the comparison."""
    parser = command_line(__doc__, "augmentation", seeds=5, steps=1000, draws=1000)
    options = begin(parser, arguments)
    facts = {
        "sizes": {case.name: case.sizes for case in CASES},
        "longer": {case.name: case.longer for case in CASES},
        "points": BOUNDED,
        "cells": list(CELLS.values()),
        "rate": RATE,
        "rows": ROWS,
    }
    results = Results.begin(options, "augmentation", **facts)
    for seed in range(options.seeds):
        for case in CASES:
            for kind in KINDS:
                found = run(case, kind, seed, options.steps, options.draws)
                which = {"couplings": case.name, "flow": kind, "seed": seed}
                results.add(options.out, **which, **found)


if __name__ == "__main__":
    main()
