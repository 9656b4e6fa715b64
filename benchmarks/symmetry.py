"""Surjective flows beside bijective ones of the same size, on data with a symmetry.

    python -m benchmarks.symmetry --out docs/results.md

The surjective flow takes the symmetry out (signs, order) and is exact; what follows is the
bijective flow that stands beside it. On the checkerboard, which has none, flows with one or two
added dimensions stand beside the same flows without, on the same rows: their lower bounds are
compared with the density that they have, an integral over the added dimensions.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor

from benchmarks.experiment import begin, command_line
from benchmarks.intervals import explain, paired, shown, spread, spread_name
from benchmarks.report import write_section
from benchmarks.training import BATCH, fit_density
from lightning_flows.bases import ConditionalNormal
from lightning_flows.datamodules import Toy
from lightning_flows.flows import NICE, ComposedFlow, NeuralSplineFlow, RealNVP
from lightning_flows.modules import FlowFactory, SurjectiveModule
from lightning_flows.transforms import Abs, Augment, InverseOf, Softplus, Sort, SortedToReal

__all__ = ["AUGMENTED", "CASES", "Case", "Outcome", "main", "run", "table"]

RATE = 3e-3
ROWS = {"n_train": 20_000, "n_val": 0, "n_test": 5_000}
BOUNDED = 300  # test rows for flows that give bounds, and for those beside them
REACH, CELLS = 8.0, {1: 800, 2: 200}  # of the integral over the added dimensions, of each
CHUNK = 50  # draws at a time

SPLINES = partial(NeuralSplineFlow, layers=4, bins=8, hidden=(32, 32))
SIGNS = [Abs, partial(InverseOf, layer=Softplus)]
WIDE = partial(NeuralSplineFlow, layers=6, bins=8)
ADDITIVE = partial(NICE, layers=12, hidden=(64, 64), mixing="lu")
AFFINE = partial(RealNVP, layers=4, hidden=(64, 64), mixing="permutation")
# units that die as long as the noise is of no use yet, as ReLUs do, cannot learn it later
NOISE = partial(Augment, density=partial(ConditionalNormal, hidden=(32, 32), activation="silu"))


@dataclass(frozen=True)
class Case:
    """A data set and the two flows that learn it.

    Args:
        data: name of the toy set.
        name: of the symmetry that the surjective flow takes out, or of the layers.
        bijective: makes the flow of full dimension.
        surjective: makes the flow beside it.
        bounded: whether the surjective flow gives a bound.
        longer: how many times as many steps as other cases.
    """

    data: str
    name: str
    bijective: FlowFactory
    surjective: FlowFactory
    bounded: bool = False
    longer: int = 1


CASES = (
    Case("signed_rings", "signs", SPLINES, partial(ComposedFlow, layers=[*SIGNS, SPLINES])),
    Case("corner_checkerboard", "signs", SPLINES, partial(ComposedFlow, layers=[*SIGNS, SPLINES])),
    Case("sets", "order", SPLINES, partial(ComposedFlow, layers=[Sort, SortedToReal, SPLINES])),
)
AUGMENTED = (
    Case(
        "checkerboard",
        "additive",
        ADDITIVE,
        partial(ComposedFlow, layers=[partial(NOISE, add=2), ADDITIVE]),
        bounded=True,
        longer=4,
    ),
    Case(
        "checkerboard",
        "affine",
        AFFINE,
        partial(ComposedFlow, layers=[partial(NOISE, add=2), AFFINE]),
        bounded=True,
        longer=4,
    ),
    Case(
        "checkerboard",
        "spline",
        partial(WIDE, hidden=(64, 64)),
        partial(ComposedFlow, layers=[partial(NOISE, add=1), partial(WIDE, hidden=(58, 58))]),
        bounded=True,
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


def run(case: Case, kind: str, seed: int, steps: int, draws: int) -> Outcome:
    """Train one of the two flows of a case once, and measure."""
    data = Toy(case.data, **ROWS)
    rows = data.load()
    torch.manual_seed(seed)
    model = SurjectiveModule(getattr(case, kind), data.event_shape, chunk_size=CHUNK)
    if not fit_density(model.flow, rows["train"]["x"], steps * case.longer, rate=RATE):
        return Outcome()
    model.eval()
    with torch.no_grad():
        x = rows["test"]["x"][: BOUNDED if case.bounded else None]
        best = data.true_log_prob(x.double()).mean().item()
        if model.exact:
            return Outcome(model.log_prob(x).mean().item(), best=best)
        weights = model.log_weights(x, n=draws)
        iwbo = weights.logsumexp(1) - math.log(draws)
        own = integral(model, x)
    return Outcome(own.mean().item(), weights.mean().item(), iwbo.mean().item(), best)


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


def sizes(case: Case) -> tuple[int, int]:
    """Numbers of parameters of the two flows."""
    shape = Toy(case.data, **ROWS).event_shape
    first, second = (
        sum(p.numel() for p in make(shape).parameters())
        for make in (case.bijective, case.surjective)
    )
    return first, second


Outcomes = Mapping[tuple[str, str, str], Sequence[Outcome]]


def table(outcomes: Outcomes, steps: int, draws: int) -> str:
    """Markdown with mean ± standard error over the runs that did not break.

    Args:
        outcomes: runs so far, by data set, name of the case and "bijective" or "surjective".
        steps: number of steps.
        draws: draws of the importance-weighted bound.
    """
    seeds = max(map(len, outcomes.values()))
    found = _found(CASES, outcomes)
    lines = [
        "## Symmetry: surjective flows beside bijective ones",
        "",
        "```",
        f"python -m benchmarks.symmetry --seeds {seeds} --steps {steps} --draws {draws} "
        "--out docs/results.md",
        "```",
        "",
        f"Test log-likelihood in nats, {spread_name(seeds)}; higher is better. "
        "Neural spline flows of the same size, with and without surjections before them: absolute "
        f"values or sorting, both exact. {ROWS['n_train']:,} training and {ROWS['n_test']:,} test "
        f"points, {steps} steps of {BATCH}, Adam whose rate rises to {RATE:g} and falls along a "
        "cosine. The last column is the mean log-density that the data itself has at these points. "
        f"Difference: surjective minus bijective, seed by seed. {explain(len(found))}",
        "",
        "| data | taken out | parameters | bijective | surjective | difference | of the data |",
        "|---|---|---:|---:|---:|---:|---:|",
    ]
    for case, plain, ours in found:
        cells = [case.data, case.name, f"{sizes(case)[0]:,}", figure(plain, "log_prob")]
        cells += [
            figure(ours, "log_prob"),
            difference(plain, ours, len(found)),
            f"{ours[0].best:.4g}",
        ]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def table_of_augmented(outcomes: Outcomes, steps: int, draws: int) -> str:
    """The same for flows with noise added; arguments as those of `table`."""
    found = _found(AUGMENTED, outcomes)
    seeds = max(len(ours) for _, _, ours in found)
    additive, affine, best = ADDITIVE.keywords, AFFINE.keywords, found[0][2][0].best
    lines = [
        "## Dimensions of noise",
        "",
        "```",
        f"python -m benchmarks.symmetry --only checkerboard --seeds {seeds} --steps {steps} "
        f"--draws {draws} --out docs/results.md",
        "```",
        "",
        "The checkerboard with learned noise added, and without: two dimensions of it beside "
        "additive and affine couplings, one beside splines. Log-likelihood "
        f"in nats, {spread_name(seeds)}; higher is better. Data and training "
        f"are those of the table before, except for the flows. Additive couplings: "
        f"{additive['layers']} layers of {additive['hidden'][0]} x {additive['hidden'][1]} with LU "
        f"maps between them, {AUGMENTED[0].longer * steps} steps; affine couplings: "
        f"{affine['layers']} layers of {affine['hidden'][0]} x "
        f"{affine['hidden'][1]} with permutations, {AUGMENTED[1].longer * steps} "
        f"steps; splines: {WIDE.keywords['layers']} layers, narrower where noise is added, so "
        f"that the sizes are alike, and {steps} steps. A flow with noise gives a lower bound: "
        f"the ELBO, or the importance-weighted bound (IWBO) of {draws} draws. Its log-density "
        f"is the integral over the added dimensions, {CELLS[2]}² or {CELLS[1]} midpoints. All "
        f"flows are measured on the same {BOUNDED} test points, at which the data itself "
        f"has {best:.4g}. Difference: log-density with noise minus that without, seed by seed. "
        f"{explain(len(found))}",
        "",
        "| couplings | parameters, without and with | bijective | augmented: ELBO | "
        f"IWBO-{draws} | log-density | log-density - IWBO | difference |",
        "|---|---:|---:|---:|---:|---:|---:|---:|",
    ]
    for case, plain, ours in found:
        gaps = [run.log_prob - run.iwbo for run in ours if math.isfinite(run.iwbo)]
        first, second = sizes(case)
        cells = [case.name, f"{first:,}, {second:,}", figure(plain, "log_prob")]
        cells += [figure(ours, name) for name in ("elbo", "iwbo", "log_prob")]
        cells += [spread(gaps, digits=2), difference(plain, ours, len(found))]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def _found(
    cases: Sequence[Case], outcomes: Outcomes
) -> list[tuple[Case, Sequence[Outcome], Sequence[Outcome]]]:
    """Cases of which both flows have been run, with what was found."""
    keys = [
        [(case.data, case.name, kind) for kind in ("bijective", "surjective")] for case in cases
    ]
    return [
        (case, outcomes[plain], outcomes[ours])
        for case, (plain, ours) in zip(cases, keys, strict=True)
        if ours in outcomes
    ]


def figure(runs: Sequence[Outcome], name: str) -> str:
    """Mean ± standard error of one figure."""
    found = [float(getattr(run, name)) for run in runs]
    return spread([value for value in found if math.isfinite(value)], digits=4)


def difference(plain: Sequence[Outcome], ours: Sequence[Outcome], looks: int) -> str:
    """Ours - plain, seed by seed; above zero the surjective flow has the higher density."""
    first, second = ([run.log_prob for run in runs] for runs in (plain, ours))
    return shown(paired(second, first), looks)


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the comparison."""
    every = (*CASES, *AUGMENTED)
    parser = command_line(__doc__, "out", seeds=5, steps=1500, draws=1000)
    parser.add_argument("--only", choices=sorted({case.data for case in every}), nargs="+")
    options = begin(parser, arguments)
    outcomes: dict[tuple[str, str, str], list[Outcome]] = {}
    for case in every:
        if options.only and case.data not in options.only:
            continue
        section, write = (
            ("augmentation", table_of_augmented) if case.bounded else ("symmetry", table)
        )
        for seed in range(options.seeds):
            for kind in ("bijective", "surjective"):
                outcome = run(case, kind, seed, options.steps, options.draws)
                outcomes.setdefault((case.data, case.name, kind), []).append(outcome)
                print(f"{case.data}, {case.name}, {kind}, seed {seed}: {outcome}", flush=True)
            text = write(outcomes, options.steps, options.draws)
            write_section(options.out, section, text)
        print(text)


if __name__ == "__main__":
    main()
