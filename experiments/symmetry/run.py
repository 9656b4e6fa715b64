"""Surjective flows beside bijective ones of the same size, on data with a symmetry.

    python -m experiments.symmetry.run

The surjective flow takes the symmetry out (signs, order) and is exact; what follows is the
bijective flow that stands beside it.
"""

import math
from collections.abc import Sequence
from functools import partial

import torch

from experiments.common.command import begin, command_line
from experiments.common.pairs import KINDS, RATE, ROWS, Case, Kind, train
from experiments.common.results import Results
from lightning_flows.flows import ComposedFlow, NeuralSplineFlow
from lightning_flows.transforms import Abs, InverseOf, Softplus, Sort, SortedToReal

__all__ = ["CASES", "main", "run"]

SPLINES = partial(NeuralSplineFlow, layers=4, bins=8, hidden=(32, 32))
SIGNS = partial(ComposedFlow, layers=[Abs, partial(InverseOf, layer=Softplus), SPLINES])
ORDER = partial(ComposedFlow, layers=[Sort, SortedToReal, SPLINES])
CASES = (
    Case("signed_rings", "signs", SPLINES, SIGNS),
    Case("corner_checkerboard", "signs", SPLINES, SIGNS),
    Case("sets", "order", SPLINES, ORDER),
)


@torch.no_grad()
def run(case: Case, kind: Kind, seed: int, steps: int) -> dict[str, float]:
    """Mean log-density of test points in nats, of the flow and of the data itself."""
    module, data, sound = train(case, kind, seed, steps)
    x = data.load()["test"]["x"]
    own = module.log_prob(x).mean().item() if sound else math.nan
    return {"log_prob": own, "best": data.true_log_prob(x.double()).mean().item()}


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the comparison."""
    options = begin(command_line(__doc__, "symmetry", seeds=5, steps=1000), arguments)
    sizes = {case.data: case.sizes for case in CASES}
    results = Results.begin(options, "symmetry", sizes=sizes, rate=RATE, rows=ROWS)
    for seed in range(options.seeds):
        for case in CASES:
            for kind in KINDS:
                found = run(case, kind, seed, options.steps)
                which = {"data": case.data, "taken_out": case.name, "flow": kind, "seed": seed}
                results.add(options.out, **which, **found)


if __name__ == "__main__":
    main()
