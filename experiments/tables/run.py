"""Joint training beside two steps on tables: families × data sets.

    LIGHTNING_FLOWS_DATA=data python -m benchmarks.tables --out docs/results.md

Every injective method has the same prior, a small spline flow over as many latents. Two-step
trains the autoencoder first, then that prior on its latents, each for half of the steps that joint
methods have, and once more for all of them. A bijective spline flow stands beside them for
reference.
"""

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import torch
from torch import Tensor

from benchmarks.experiment import begin, command_line
from benchmarks.intervals import explain, shown, spread, spread_name, unpaired
from benchmarks.report import write_section
from benchmarks.training import (
    BATCH,
    LOOKS,
    WARMUP,
    fit_density,
    squared_errors,
    train_joint,
)
from lightning_flows.bases.base import Density
from lightning_flows.datamodules import Arrays
from lightning_flows.flows import FreeFormFlow, NeuralSplineFlow, PaddedFlow, RealNVP
from lightning_flows.flows.injective import InjectiveFlow
from lightning_flows.metrics import frechet_distance, sliced_wasserstein
from lightning_flows.nets import ResidualDecoder, ResidualEncoder
from lightning_flows.objectives import FreeFormVolume, NoVolume, StochasticVolume, Volume
from lightning_flows.transforms import Standardize

__all__ = ["METHODS", "TABLES", "Outcome", "Table", "main", "run"]

RATE, SAMPLES = 3e-3, 10_000
VALIDATION = 1000  # rows by which a checkpoint is chosen
JOINT = {"joint, stochastic": "padded", "joint, free-form": "free"}
TWO_STEP = {"two-step, coupling flow": "padded", "two-step, free-form nets": "free"}
TWICE = {f"{name}, twice the steps": kind for name, kind in TWO_STEP.items()}
VOLUMES: dict[str, type[Volume]] = {"padded": StochasticVolume, "free": FreeFormVolume}
BIJECTIVE, ROWS = "bijective spline flow", "training rows themselves"
METHODS = (*JOINT, *TWO_STEP, *TWICE, BIJECTIVE, ROWS)


@dataclass(frozen=True)
class Table:
    """A data set, and what its flows are given.

    Args:
        path: file below the folder of data.
        latent: number of latents.
        beta: weight of the squared error in joint training, chosen on validation rows.
        test_path: file of the test rows, where they are not cut out of the first.
    """

    path: str
    latent: int
    beta: float
    test_path: str | None = None

    def load(self, folder: Path) -> dict[str, Tensor]:
        """Rows of "train", "val" and "test", in units of the training rows; all columns.

        Constant columns, which have no unit, are 0.
        """
        data = Arrays(
            str(folder / self.path),
            test_path=None if self.test_path is None else str(folder / self.test_path),
            key="data" if self.path.endswith(".npz") else None,
            redundant="keep",
            standardize=False,
        )
        rows = {name: x for name, (x,) in data.load().items()}
        units = Standardize(data.event_shape, minimum_scale=1e-3)
        units.fit(rows["train"])
        return {name: units.encode(x)[0] for name, x in rows.items()}


TABLES = {
    "MINIBOONE": Table("miniboone/val.npy", 21, 20.0, "miniboone/test.npy"),
    "protein": Table("uci_small/protein_tertiary_structure.npz", 5, 20.0),
    "power plant": Table("uci_small/power_plant.npz", 3, 20.0),
    "naval": Table("uci_small/naval_propulsion_plant.npz", 9, 3000.0),
}


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


def run(name: str, table: Table, rows: Mapping[str, Tensor], seed: int, steps: int) -> Outcome:
    """Train one method once, and measure."""
    torch.manual_seed(seed)
    train, val = rows["train"], rows["val"][:VALIDATION]
    if name == ROWS:
        return distances(train, rows["test"])
    if name == BIJECTIVE:
        flow = NeuralSplineFlow(train.shape[1], layers=6, hidden=(128, 128))
        sound = fit_density(flow, train, steps, rate=RATE, val=val)
        return measure(flow, rows) if sound else Outcome()
    kind = (JOINT | TWO_STEP | TWICE)[name]
    injective = make(kind, train.shape[1], table.latent)
    joint = name in JOINT
    volume = VOLUMES[kind]() if joint else NoVolume()
    steps = steps // 2 if name in TWO_STEP else steps  # of each of the two
    sound = train_joint(
        injective, volume, train, steps, beta=table.beta, rate=RATE, prior=joint, val=val
    )
    if sound and not joint:
        with torch.no_grad():
            u, u_val = injective.project(train), injective.project(val)
            injective.initialize(train)
        sound = fit_density(injective.prior, u, steps, rate=RATE, val=u_val)
    return measure(injective, rows) if sound else Outcome()


def make(kind: str, features: int, latent: int) -> InjectiveFlow:
    """A coupling flow with padding or free networks, with a small spline flow as the prior."""
    prior = partial(NeuralSplineFlow, layers=3, hidden=(32, 32), actnorm=True)
    if kind == "padded":
        ambient = partial(RealNVP, layers=4, hidden=(64, 64), activation="tanh")
        return PaddedFlow(features, latent_features=latent, ambient=ambient, prior=prior)
    return FreeFormFlow(
        features,
        latent_features=latent,
        encoder=partial(ResidualEncoder, hidden=(128, 128)),
        decoder=partial(ResidualDecoder, hidden=(128, 128)),
        prior=prior,
    )


@torch.no_grad()
def measure(flow: Density, rows: Mapping[str, Tensor], split: str = "test") -> Outcome:
    """Samples and densities beside the rows of a split.

    An injective flow scores residuals as normal with the variance that it has on validation rows.
    """
    x = rows[split]
    found = distances(flow.sample(SAMPLES), x)
    if not isinstance(flow, InjectiveFlow):
        return Outcome(found.frechet, found.sliced, -flow.log_prob(x).mean().item())

    variance = squared_errors(flow, rows["val"]).mean() / (x.shape[1] - flow.manifold_shape[0])
    beta = 0.5 / variance.item()
    scores = [flow.ambient_log_prob(piece, beta=beta) for piece in x.split(512)]
    nll = -torch.cat(scores).mean().item()
    return Outcome(found.frechet, found.sliced, nll, squared_errors(flow, x).mean().item())


def distances(samples: Tensor, x: Tensor) -> Outcome:
    """Distances of samples to rows; NaN where a sample is not finite."""
    if not samples.isfinite().all():
        return Outcome()
    frechet = frechet_distance(samples, x, standardize=False)
    return Outcome(frechet.item(), sliced_wasserstein(samples, x).item())


Outcomes = Mapping[tuple[str, str], Sequence[Outcome]]
MEASURES = {
    "frechet": "Fréchet distance",
    "sliced": "sliced Wasserstein",
    "nll": "ambient NLL, nats",
}


def table(outcomes: Outcomes, steps: int, sizes: Mapping[str, tuple[int, int, int]]) -> str:
    """Markdown with mean ± standard error over the runs that did not break.

    Args:
        outcomes: runs of every data set and method so far.
        steps: number of steps.
        sizes: columns, training rows and test rows of every data set.
    """
    done = list(dict.fromkeys(name for name, _ in outcomes))
    seeds = max(map(len, outcomes.values()))
    lines = [
        "## Tables: joint training beside two steps",
        "",
        "```",
        f"python -m benchmarks.tables --seeds {seeds} --steps {steps} --out docs/results.md",
        "```",
        "",
        f"{spread_name(seeds).capitalize()}: of weights, batches and samples; the split is "
        f"the same for all. {steps} steps of {BATCH} rows, Adam whose rate rises to {RATE:g} and "
        f"falls along a cosine, gradients clipped, the checkpoint that did best on {VALIDATION:,} "
        f"validation rows, at which each part looks {LOOKS} times. Joint methods spend "
        f"the first {WARMUP:.0%} of their steps on the reconstruction alone. Two-step trains the "
        f"same networks as an autoencoder for {steps // 2} steps, then the prior on its latents "
        f"for {steps // 2}; with twice the steps, {steps} and {steps}. The prior is a "
        "spline flow of 3 layers everywhere, its inputs standardized before it is trained.",
        "",
        "All figures are over test rows, in units of the training rows' standard deviation. "
        f"Fréchet distance: the papers' FID-like one, between Gaussians fitted to {SAMPLES:,} "
        "samples and to the rows, squared. Ambient NLL: residuals of injective flows are scored "
        "as normal with the variance that they have on validation rows, so that no method gains "
        "from the β it was trained with. It is a density, of mass 1, where every fibre of the "
        "encoder is flat and passes through the point that is decoded from it; elsewhere its mass "
        "is another (see `metrics.density_mass`) and was not measured here, so figures of "
        "injective flows and of the bijective one cannot be compared without it. Error: mean "
        "squared residual of a row, "
        "summed over columns. Lower is better everywhere. Distances of the training rows "
        "themselves are for orientation and no bound: samples of a smooth density can lie closer "
        "to the test rows.",
        "",
    ]
    for name in done:
        features, train, test = sizes[name]
        lines.append(
            f"* {name}: {features} columns, {TABLES[name].latent} latents, β = "
            f"{TABLES[name].beta:g}, {train:,} training and {test:,} test rows."
        )
    lines += [
        "",
        "MINIBOONE is trained on the published validation split and tested on the published test "
        "split. Two columns of naval are constant and one is repeated, so that no density of full "
        f"dimension exists: the likelihood of the {BIJECTIVE} has no bound there.",
        "",
        f"| data | method | {' | '.join(MEASURES.values())} | error | NaN |",
        "|---|---|---:|---:|---:|---:|---:|",
    ]
    for (name, method), runs in outcomes.items():
        columns = (values(runs, measure) for measure in (*MEASURES, "error"))
        cells = " | ".join(spread(column) for column in columns)
        broken = sum(not math.isfinite(run.frechet) for run in runs)
        lines.append(f"| {name} | {method} | {cells} | {broken} |")
    return "\n".join([*lines, "", *differences(outcomes, done)]) + "\n"


def differences(outcomes: Outcomes, names: Sequence[str]) -> list[str]:
    """Lines of a table: joint methods minus two-step with the same networks and budget."""
    pairs = [
        (name, method, twin)
        for name in names
        for method, kind in JOINT.items()
        for twin in [next(each for each, other in TWO_STEP.items() if other == kind)]
        if outcomes.get((name, method)) and outcomes.get((name, twin))
    ]
    looks = len(pairs) * len(MEASURES)
    lines = [
        "Joint minus two-step with the same networks and the same budget; below zero the joint "
        f"method has the lower figure. {explain(looks)}",
        "",
        f"| data | method | {' | '.join(MEASURES.values())} |",
        f"|---|---|{'---:|' * len(MEASURES)}",
    ]
    for name, method, twin in pairs:
        cells = [
            shown(unpaired(*(values(outcomes[name, each], m) for each in (method, twin))), looks)
            for m in MEASURES
        ]
        lines.append(f"| {name} | {method} | {' | '.join(cells)} |")
    return lines


def values(runs: Sequence[Outcome], measure: str) -> list[float]:
    """The finite figures of one measure."""
    found = [float(getattr(run, measure)) for run in runs]
    return [value for value in found if math.isfinite(value)]


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the experiment."""
    parser = command_line(__doc__, "data", "out", seeds=5, steps=1000)
    parser.add_argument("--only", choices=TABLES, nargs="+", default=list(TABLES))
    parser.add_argument("--keep", type=Path, help="file of runs, to go on with after a break")
    options = begin(parser, arguments)
    every = {name: TABLES[name].load(options.data) for name in options.only}
    sizes = {
        name: (rows["train"].shape[1], len(rows["train"]), len(rows["test"]))
        for name, rows in every.items()
    }
    kept: dict[tuple[str, str], list[Outcome]] = {}
    if options.keep is not None and options.keep.exists():
        kept = {
            (name, method): [Outcome(**figures) for figures in runs]
            for name, method, runs in json.loads(options.keep.read_text())
        }
    outcomes = {
        (name, method): kept.get((name, method), []) for name in every for method in METHODS
    }
    for seed in range(options.seeds):
        for (name, method), runs in outcomes.items():
            if len(runs) > (0 if method == ROWS else seed):
                continue
            runs.append(run(method, TABLES[name], every[name], seed, options.steps))
            print(f"{name}, {method}, seed {seed}: {runs[-1]}", flush=True)
            if options.keep is not None:
                done = [[*key, [*map(vars, runs)]] for key, runs in (kept | outcomes).items()]
                options.keep.write_text(json.dumps(done))
        write_section(options.out, "tables", table(outcomes, options.steps, sizes))
    print(table(outcomes, options.steps, sizes))


if __name__ == "__main__":
    main()
