r"""The dimension that flows report for tables whose columns depend on each other linearly.

    LIGHTNING_FLOWS_DATA=data python -m experiments.ranks.run

Around a point a flow that bends sees fewer directions than the table has; over many points it sees
all of them (`metrics.spanned_variances`). All columns are kept. The noise in training is chosen by
the eigenvalues of the table's covariance, not by its rank: a tenth of the smallest one that exceeds
rounding.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor

from experiments.common.command import begin, command_line
from experiments.common.results import Results
from experiments.common.tables import TABLES, in_memory
from experiments.common.training import Budget, fit
from lightning_flows.components.dimension import count_dimension
from lightning_flows.components.extract import components
from lightning_flows.core.shapes import Shape
from lightning_flows.flows import Flow, RealNVP
from lightning_flows.metrics import spanned_variances
from lightning_flows.modules import DensityModule
from lightning_flows.transforms import LULinear

__all__ = [
    "BATCH",
    "FLOWS",
    "POINTS",
    "RANKS",
    "RATE",
    "THRESHOLD",
    "Outcome",
    "choose_noise",
    "main",
    "principal_axes",
    "run",
    "train",
]

RANKS = {"naval": 15, "energy": 8}

BATCH, RATE, POINTS = 512, 1e-2, 500
THRESHOLD = 5.0  # multiple of 2α beyond which a direction counts
ROUNDING = 1e-9  # of the largest eigenvalue; rows are in single precision


class Linear(Flow):
    """A flow that is a single linear map."""

    def __init__(self, event_shape: Shape) -> None:
        super().__init__(LULinear(event_shape))


FLOWS: dict[str, Callable[[Shape], Flow]] = {
    "linear": Linear,
    "RealNVP": partial(RealNVP, layers=6, hidden=(64, 64), activation="tanh", mixing="lu"),
}


@dataclass(frozen=True)
class Outcome:
    """What a flow reports.

    Args:
        noise: variance 2α of the noise that it was trained with.
        dimensions: number of directions that count at each point, (n,).
        spanned: variances less 2α along the principal axes of their mean over points.
        nll: mean over the rows, nats, of a density that is 2α wide across the subspace.
    """

    noise: float
    dimensions: Tensor
    spanned: Tensor
    nll: float

    @property
    def dimension(self) -> int:
        """Number of directions that all points together vary in."""
        counted = count_dimension(self.spanned[None], self.noise, THRESHOLD, 0.0)
        return int(counted.item())


def choose_noise(x: Tensor) -> float:
    """Variance of noise that is small beside every direction that rows (n, D) vary in."""
    eigenvalues = torch.linalg.eigvalsh(torch.cov(x.double().T))
    present = eigenvalues[eigenvalues > ROUNDING * eigenvalues[-1]]
    return present[0].item() / 10


def train(
    make: Callable[[Shape], Flow], rows: Tensor, *, variance: float, seed: int, steps: int
) -> DensityModule:
    """A flow of rows (n, D) and noise of this variance."""
    data = in_memory({"train": rows}, BATCH, seed)
    budget = Budget.of(data, steps)
    torch.manual_seed(seed)
    module = DensityModule(make, rows.shape[1], noise=variance**0.5, **budget.recipe(RATE))
    if not fit(module, data, budget):
        raise ArithmeticError("a parameter is not finite.")
    return module


def principal_axes(rows: Tensor) -> Tensor:
    """The orthogonal map that turns rows (n, D) to their principal axes, (D, D).

    It changes neither rank nor spectrum, but in the axes of the columns Adam does not get to scales
    that are thousands of times apart.
    """
    return torch.linalg.eigh(torch.cov(rows.double().T)).eigenvectors.to(rows)


def run(
    make: Callable[[Shape], Flow], rows: Tensor, test: Tensor, *, seed: int, steps: int
) -> Outcome:
    """Train a flow on rows (n, D) with noise, and count dimensions at others."""
    turn, variance = principal_axes(rows), choose_noise(rows)
    points = (test @ turn)[:POINTS]
    module = train(make, rows @ turn, variance=variance, seed=seed, steps=steps)
    found = components(
        module.encode, module.decode, points, noise=variance**0.5, threshold=THRESHOLD
    )
    with torch.no_grad():
        nll = -module.log_prob(points).mean().item()
    spanned = spanned_variances(found.axes, found.variances)
    return Outcome(variance, found.dimension, spanned, nll)


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the experiment."""
    parser = command_line(__doc__, "ranks", data=True, seeds=3, steps=1500)
    options = begin(parser, arguments)
    facts = {"ranks": RANKS, "threshold": THRESHOLD, "points": POINTS, "batch": BATCH}
    results = Results.begin(options, "ranks", **facts)
    for seed in range(options.seeds):
        for name in RANKS:
            rows = TABLES[name].load(options.data, seed)
            for flow, make in FLOWS.items():
                found = run(make, rows["train"], rows["test"], seed=seed, steps=options.steps)
                results.add(
                    options.out,
                    table=name,
                    flow=flow,
                    seed=seed,
                    noise=found.noise,
                    dimension=found.dimension,
                    local=found.dimensions.median().item(),
                    spanned=found.spanned.tolist(),
                    nll=found.nll,
                )


if __name__ == "__main__":
    main()
