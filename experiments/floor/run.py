"""What keeps the likelihood of a manifold from growing without bound: noise, a Tikhonov term.

    python -m experiments.floor.run

An S-curve without any noise on its points has no density of full dimension. The flow is that of the
experiment on surfaces; its training is cut into stages, in each of which the learning rate falls to
zero, and what it knows is looked at after each.
"""

import math
from collections.abc import Sequence

from experiments.common.command import begin, command_line
from experiments.common.results import Results
from experiments.common.surfaces import ALPHA, BATCH, NEITHER, NOISY, TIKHONOV, Stage, train

__all__ = ["main"]

STAGES = 3


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the experiment."""
    options = begin(command_line(__doc__, "floor", seeds=1, steps=6000), arguments)
    results = Results.begin(options, "floor", alpha=ALPHA, stages=STAGES, batch=BATCH)
    for seed in range(options.seeds):
        for kind in (NEITHER, NOISY, TIKHONOV):
            stages = [Stage(kind, math.ceil(options.steps / STAGES))] * STAGES
            for stage, end in enumerate(train("s_curve", stages, seed, noise=0.0)):
                results.add(
                    options.out,
                    regularizer=kind,
                    seed=seed,
                    stage=stage,
                    nll=end.nll,
                    thinnest=end.widths[-1],
                    cosine=end.cosine,
                )


if __name__ == "__main__":
    main()
