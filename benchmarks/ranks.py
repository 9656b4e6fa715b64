r"""The dimension that flows report for tables whose columns depend on each other linearly.

    LIGHTNING_FLOWS_DATA=data python -m benchmarks.ranks --out docs/results.md

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

from benchmarks.experiment import begin, command_line
from benchmarks.report import write_section
from benchmarks.tables import Table
from benchmarks.training import descend
from lightning_flows.components.dimension import count_dimension
from lightning_flows.components.extract import components
from lightning_flows.core.shapes import Shape
from lightning_flows.flows import Flow, RealNVP
from lightning_flows.metrics import spanned_variances
from lightning_flows.modules import DensityModule
from lightning_flows.transforms import LULinear

__all__ = ["FLOWS", "Outcome", "choose_noise", "main", "run"]

TABLES = {
    "naval": (Table("uci_small/naval_propulsion_plant.npz", 9, 1.0), 15),
    "energy": (Table("uci_small/energy.npz", 4, 1.0), 8),
}
"""Tables and their ranks."""

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


def run(
    make: Callable[[Shape], Flow], train: Tensor, test: Tensor, *, seed: int, steps: int
) -> Outcome:
    """Train a flow on rows (n, D) with noise, and count dimensions at others.

    Rows are turned to their principal axes first. That changes neither rank nor spectrum, but
    in the axes of the columns Adam does not get to scales that are thousands of times apart.
    """
    torch.manual_seed(seed)
    turn = torch.linalg.eigh(torch.cov(train.double().T)).eigenvectors.to(train)
    x, points = train @ turn, (test @ turn)[:POINTS]
    variance = choose_noise(train)
    module = DensityModule(make, x.shape[1], noise=variance**0.5)

    def loss(_: int) -> Tensor:
        return module.training_loss(x[torch.randint(len(x), (BATCH,))], None)[0]

    if not descend(module, loss, steps, rate=RATE):
        raise ArithmeticError("a gradient was not finite.")
    found = components(
        module.encode, module.decode, points, noise=variance**0.5, threshold=THRESHOLD
    )
    with torch.no_grad():
        nll = -module.log_prob(points).mean().item()
    spanned = spanned_variances(found.axes, found.variances)
    return Outcome(variance, found.dimension, spanned, nll)


def row(name: str, flow: str, seed: int, rank: int, outcome: Outcome) -> str:
    """One line of the table."""
    size, floor = len(outcome.spanned), outcome.noise
    last, beyond = outcome.spanned[rank - 1] / floor, outcome.spanned[rank] / floor
    return (
        f"| {name} | {rank} of {size} | {flow} | {seed} | {floor:.2g} "
        f"| {outcome.dimension} | {last:.3g} | {beyond:.2g} "
        f"| {outcome.dimensions.median():.0f} |"
    )


def table(rows: Sequence[str], steps: int) -> str:
    """Markdown."""
    lines = [
        "## Rank-deficient tables",
        "",
        f"All columns, standardized; constant ones, which have no unit, are 0. {steps} steps of "
        f"{BATCH} rows turned to their principal axes (an orthogonal map), with noise of variance "
        "2α = a tenth of the smallest eigenvalue of the covariance above rounding. Spanned: "
        f"directions that the {POINTS} test rows together vary in, λ > {THRESHOLD:g}·2α in the "
        "mean over rows (`metrics.SpannedDimension`); λ / 2α of the one that the rank counts last, "
        "and of the next. Local: median of the dimensions around single rows.",
        "",
        "A linear flow sees the subspace that the rows span, and nothing else. A flow that bends "
        "sees the rows as they lie around each point. These tables are grids of a few settings "
        "with thin clouds between, so locally fewer directions are wider than the noise; over all "
        "rows every one of them is.",
        "",
        "| table | rank | flow | seed | 2α | spanned | λ/2α, last | next | local |",
        "|---|---|---|---:|---:|---:|---:|---:|---:|",
        *rows,
    ]
    return "\n".join(lines) + "\n"


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the experiment."""
    parser = command_line(__doc__, "data", "out", seeds=2, steps=2000)
    parser.add_argument("--only", choices=FLOWS, nargs="+", default=list(FLOWS))
    options = begin(parser, arguments)
    rows = []
    for name, (source, rank) in TABLES.items():
        parts = source.load(options.data)
        for flow in options.only:
            for seed in range(options.seeds):
                done = run(
                    FLOWS[flow], parts["train"], parts["test"], seed=seed, steps=options.steps
                )
                rows.append(row(name, flow, seed, rank, done))
                print(rows[-1], done.spanned.tolist(), done.nll, flush=True)
                write_section(options.out, "ranks", table(rows, options.steps))


if __name__ == "__main__":
    main()
