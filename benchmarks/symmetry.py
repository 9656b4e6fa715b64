"""Surjective flows beside bijective ones of the same size, on data with a symmetry.

    python -m benchmarks.symmetry --out docs/results.md

The surjective flow takes the symmetry out (signs, order) and is exact; what follows is the
bijective flow that stands beside it. On the checkerboard, which has none, a flow with one added
dimension stands beside the flow without: its lower bounds are compared with the density that it
has, an integral over the added dimension.
"""

import argparse
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import torch
from lightning_flows.datamodules import Toy
from torch import Tensor

from benchmarks.report import write_section
from benchmarks.training import BATCH, fit_density, mean_and_error
from lightning_flows.bases import ConditionalNormal
from lightning_flows.families import FlowFactory, SurjectiveFlow
from lightning_flows.flows import ComposedFlow, NeuralSplineFlow
from lightning_flows.transforms import (
    Abs,
    Augment,
    InverseOf,
    Softplus,
    Sort,
    SortedToReal,
)

__all__ = ["CASES", "Case", "Outcome", "main", "run", "table"]

RATE = 3e-3
SIZE = 0.05  # largest relative difference in the number of parameters
ROWS = {"n_train": 20_000, "n_val": 0, "n_test": 5_000}
BOUNDED = 200  # test rows of which bounds are taken
REACH, CELLS = 8.0, 2000  # of the integral over the added dimension
CHUNK = 50  # draws at a time

SPLINES = partial(NeuralSplineFlow, layers=4, bins=8, hidden=(32, 32))
WIDE = partial(NeuralSplineFlow, layers=6, bins=8)
SIGNS = [Abs, partial(InverseOf, layer=Softplus)]


@dataclass(frozen=True)
class Case:
    """A data set and the two flows that learn it.

    Args:
        data: name of the toy set.
        symmetry: what the surjective flow takes out, or adds.
        bijective: makes the flow of full dimension.
        surjective: makes the flow beside it.
    """

    data: str
    symmetry: str
    bijective: FlowFactory
    surjective: FlowFactory


CASES = (
    Case("signed_rings", "signs", SPLINES, partial(ComposedFlow, layers=[*SIGNS, SPLINES])),
    Case("corner_checkerboard", "signs", SPLINES, partial(ComposedFlow, layers=[*SIGNS, SPLINES])),
    Case("sets", "order", SPLINES, partial(ComposedFlow, layers=[Sort, SortedToReal, SPLINES])),
    Case(
        "checkerboard",
        "one dimension more",
        partial(WIDE, hidden=(64, 64)),
        partial(
            ComposedFlow,
            layers=[
                partial(Augment, add=1, density=partial(ConditionalNormal, hidden=(32, 32))),
                partial(WIDE, hidden=(54, 54)),
            ],
        ),
    ),
)


@dataclass(frozen=True)
class Outcome:
    """Mean figures over test rows, in nats; higher is better. All are NaN where training broke.

    Args:
        log_prob: of the flow; of a bound, the density that it has, by quadrature.
        elbo: lower bound, the mean over all draws; NaN of an exact flow, like the next.
        iwbo: importance-weighted bound of all draws.
        best: log-density of the data itself, on the same rows.
    """

    log_prob: float = math.nan
    elbo: float = math.nan
    iwbo: float = math.nan
    best: float = math.nan


def run(case: Case, name: str, seed: int, steps: int, draws: int) -> Outcome:
    """Train one of the two flows of a case once, and measure."""
    data = Toy(case.data, **ROWS)  # type: ignore[arg-type]
    rows = data.load()
    torch.manual_seed(seed)
    model = SurjectiveFlow(getattr(case, name), data.event_shape, chunk_size=CHUNK)
    if not fit_density(model.flow, rows["train"][0], steps, rate=RATE):
        return Outcome()
    model.eval()
    with torch.no_grad():
        x = rows["test"][0] if model.exact else rows["test"][0][:BOUNDED]
        best = data.true_log_prob(x.double()).mean().item()
        if model.exact:
            return Outcome(model.log_prob(x).mean().item(), best=best)
        weights = model.log_weights(x, n=draws)
        iwbo = weights.logsumexp(1) - math.log(draws)
        own = integral(model, x)
    return Outcome(own.mean().item(), weights.mean().item(), iwbo.mean().item(), best)


def integral(model: SurjectiveFlow, x: Tensor) -> Tensor:
    """Log-density (n,) of a flow that adds one entry first: ∫ p(x, u) du by midpoints."""
    augment, *others = model.flow.transform.transforms
    assert isinstance(augment, Augment)
    step = 2 * REACH / CELLS
    u = -REACH + step * (torch.arange(CELLS) + 0.5)
    pieces = []
    for row in x:
        z = torch.cat([row.expand(CELLS, -1), u[:, None]], 1)
        total = torch.zeros(CELLS)
        for transform in others:
            z, contribution = transform.encode(z)
            total = total + contribution
        pieces.append((model.flow.base.log_prob(z) + total).logsumexp(0) + math.log(step))
    return torch.stack(pieces)


def sizes(case: Case) -> tuple[int, int]:
    """Numbers of parameters of the two flows.

    Raises:
        ValueError: they differ by more than `SIZE`.
    """
    shape = Toy(case.data, **ROWS).event_shape  # type: ignore[arg-type]
    first, second = (
        sum(p.numel() for p in make(shape).parameters())
        for make in (case.bijective, case.surjective)
    )
    if abs(first - second) > SIZE * first:
        raise ValueError(f"{case.data}: {first} and {second} parameters are not the same size.")
    return first, second


Outcomes = Mapping[tuple[str, str], Sequence[Outcome]]


def table(outcomes: Outcomes, steps: int, draws: int) -> str:
    """Markdown with mean ± standard error over the runs that did not break.

    Args:
        outcomes: runs so far, by data set and "bijective" or "surjective".
        steps: number of steps.
        draws: draws of the importance-weighted bound.
    """
    seeds = max(map(len, outcomes.values()))
    lines = [
        "## Symmetry: surjective flows beside bijective ones",
        "",
        "```",
        f"python -m benchmarks.symmetry --seeds {seeds} --steps {steps} --draws {draws} "
        "--out docs/results.md",
        "```",
        "",
        f"Test log-likelihood in nats, mean ± standard error over {seeds} seeds; higher is better. "
        "Neural spline flows of the same size, with and without surjections before them: absolute "
        f"values or sorting, both exact. {ROWS['n_train']:,} training and {ROWS['n_test']:,} test "
        f"points, {steps} steps of {BATCH}, Adam whose rate rises to {RATE:g} and falls along a "
        "cosine. The best possible is the mean log-density of the data itself.",
        "",
        "| data | taken out | parameters | bijective | surjective | difference | best possible |",
        "|---|---|---:|---:|---:|---:|---:|",
    ]
    for case in CASES[:-1]:
        if (case.data, "surjective") in outcomes:
            plain, ours = (outcomes[case.data, name] for name in ("bijective", "surjective"))
            cells = (
                case.data,
                case.symmetry,
                f"{sizes(case)[0]:,}",
                figure(plain, "log_prob"),
                figure(ours, "log_prob"),
                difference(plain, ours),
                f"{ours[0].best:.4g}",
            )
            lines.append(f"| {' | '.join(cells)} |")
    case = CASES[-1]
    if (case.data, "surjective") in outcomes:
        plain, ours = (outcomes[case.data, name] for name in ("bijective", "surjective"))
        first, second = sizes(case)
        gaps = [run.log_prob - run.iwbo for run in ours if math.isfinite(run.iwbo)]
        lines += [
            "",
            f"The checkerboard with one dimension of learned noise added ({second:,} parameters) "
            f"and without ({first:,}). The flow with it gives a lower bound: the ELBO, or the "
            f"importance-weighted bound (IWBO) of {draws} draws. Its log-density is the integral "
            f"over the added dimension, {CELLS} midpoints, on the first {BOUNDED} test points.",
            "",
            f"| bijective | augmented: ELBO | IWBO-{draws} | log-density | log-density - IWBO | "
            "difference | best possible |",
            "|---:|---:|---:|---:|---:|---:|---:|",
            f"| {figure(plain, 'log_prob')} | {figure(ours, 'elbo')} | {figure(ours, 'iwbo')} | "
            f"{figure(ours, 'log_prob')} | {mean_and_error(gaps, digits=2)} | "
            f"{difference(plain, ours)} | {ours[0].best:.4g} |",
        ]
    return "\n".join(lines) + "\n"


def figure(runs: Sequence[Outcome], name: str) -> str:
    """Mean ± standard error of one figure."""
    found = [float(getattr(run, name)) for run in runs]
    return mean_and_error([value for value in found if math.isfinite(value)], digits=4)


def difference(plain: Sequence[Outcome], ours: Sequence[Outcome]) -> str:
    """Ours - plain, seed by seed; above zero the surjective flow is better."""
    pairs = zip(plain, ours, strict=False)
    found = [second.log_prob - first.log_prob for first, second in pairs]
    return mean_and_error([value for value in found if math.isfinite(value)])


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the comparison."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0] if __doc__ else None)
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--steps", type=int, default=1500)
    parser.add_argument("--draws", type=int, default=1000)
    parser.add_argument("--only", choices=[case.data for case in CASES], nargs="+")
    parser.add_argument("--out", type=Path)
    options = parser.parse_args(arguments)
    torch.set_num_threads(1)
    outcomes: dict[tuple[str, str], list[Outcome]] = {}
    for case in CASES:
        if options.only and case.data not in options.only:
            continue
        sizes(case)
        for name in ("bijective", "surjective"):
            runs = outcomes[case.data, name] = []
            for seed in range(options.seeds):
                runs.append(run(case, name, seed, options.steps, options.draws))
                print(f"{case.data}, {name}, seed {seed}: {runs[-1]}", flush=True)
        if options.out:
            write_section(options.out, "symmetry", table(outcomes, options.steps, options.draws))
    print(table(outcomes, options.steps, options.draws))


if __name__ == "__main__":
    main()
