r"""Components of flows trained on noisy surfaces in space, and the floor of their likelihood.

    python -m benchmarks.surfaces --out docs/results.md --figure docs/images/surfaces.png \
        --keep surfaces.pt

The last axis should be the normal of the surface, and two directions should count, whether the flow
is trained with a Tikhonov term of weight α or with noise of variance 2α on the data. Without either
the likelihood should have no floor.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from statistics import mean

import torch
from torch import Tensor

from benchmarks.experiment import begin, command_line
from benchmarks.normals import NORMALS, normal_cosines
from benchmarks.report import write_section
from benchmarks.training import descend
from lightning_flows.components import components
from lightning_flows.components.dimension import count_dimension, shrinkage
from lightning_flows.datamodules import Toy
from lightning_flows.flows import RealNVP
from lightning_flows.modules import DensityModule
from lightning_flows.plots.canvas import DATA, SERIES, point_panels, save_png, title

__all__ = ["Outcome", "REGULARizERS", "Stage", "main", "train"]

ALPHA = 1e-3
NOISE = 0.01  # of the points of all surfaces, small beside √(2α)
BATCH, RATE, POINTS = 256, 3e-3, 1000
LARGE = 1024  # batches of the stage with noise on surfaces
REFINING = 3e-4  # highest learning rate of later stages on surfaces
# smooth: flows of splines cut surfaces, and share the normal's latent between the pieces
FLOW = partial(RealNVP, layers=16, hidden=(64, 64), activation="silu", mixing="lu")

TIKHONOV, NOISY, NEITHER = "α = 1e-3", "noise, σ² = 2e-3", "neither"
REGULARizERS: dict[str, dict[str, float]] = {
    TIKHONOV: {"tikhonov": ALPHA},
    NOISY: {"noise": math.sqrt(2 * ALPHA)},
    NEITHER: {},
}
THRESHOLDS = (2.0, 5.0)  # multiples of 2α beyond which a direction counts; the second is default
STAGES = 3  # of the runs without noise on the points
SHARE = 3 / 8  # steps with α for every step with noise, which costs a third


EVERYTHING = {"surfaces": tuple(NORMALS), "floor": tuple(REGULARizERS)}


@dataclass(frozen=True)
class Outcome:
    """What a flow knew at the end of a stage of its training.

    Args:
        kind: how the stage was regularized.
        nll: mean over test points without the regularization, nats.
        cosine: median |cos| between the last axis and the true normal.
        scales: standard deviations along the axes, widest first, (n, 3).
        points: the test points, (n, 3).
        axes: their components, (n, 3, 3).
    """

    kind: str
    nll: float
    cosine: float
    scales: Tensor
    points: Tensor
    axes: Tensor

    @property
    def floor(self) -> float:
        """By how much the regularization widens each variance."""
        return shrinkage(**{"tikhonov": 0.0, "noise": 0.0} | REGULARizERS[self.kind])

    @property
    def variances(self) -> list[float]:
        """Medians of the squares of the scales, less the floor."""
        medians: list[float] = (self.scales.square() - self.floor).median(0).values.tolist()
        return medians

    def dimensions(self, threshold: float) -> Tensor:
        """Number of directions beyond this multiple of the floor, (n,)."""
        return count_dimension(self.scales.square() - self.floor, self.floor, threshold, 0.0)

    def flat(self, threshold: float) -> float:
        """Share of points where there are two of them."""
        return (self.dimensions(threshold) == 2).float().mean().item()


Runs = dict[tuple[str, str, int], list[Outcome]]
"""Outcomes of the stages, by part, surface or regularizer, and seed."""


@dataclass(frozen=True)
class Stage:
    """A part of a training.

    Args:
        kind: how it is regularized.
        steps: how many.
        rate: highest learning rate.
        batch: points in a step.
    """

    kind: str
    steps: int
    rate: float = RATE
    batch: int = BATCH


def train(name: str, stages: Sequence[Stage], seed: int, *, noise: float = NOISE) -> list[Outcome]:
    """Train a flow in stages, each with its regularizer and a learning rate that falls to zero.

    A run whose gradient is not finite ends with the stage before.

    Args:
        name: the surface.
        stages: what is done one after the other.
        seed: of the data and of the training.
        noise: standard deviation of noise that belongs to the points.
    """
    torch.manual_seed(seed)
    data = Toy(name, noise=noise, n_train=20_000, n_test=POINTS, seed=seed)
    splits = data.load()
    x, test = splits["train"][0], splits["test"][0]
    module = DensityModule(FLOW, data.event_shape)

    outcomes: list[Outcome] = []
    for stage in stages:
        options = REGULARizERS[stage.kind]
        module.tikhonov, module.noise = options.get("tikhonov", 0.0), options.get("noise", 0.0)

        def loss(_: int, batch: int = stage.batch) -> Tensor:
            return module.training_loss(x[torch.randint(len(x), (batch,))], None)[0]

        if not descend(module, loss, stage.steps, stage.rate):
            break
        with torch.no_grad():
            nll = -module.log_prob(test).mean().item()
        found = components(module.encode, module.decode, test, through="encode", **options)
        cosine = normal_cosines(found, name).median().item()
        outcomes.append(Outcome(stage.kind, nll, cosine, found.scales, test, found.axes))
    return outcomes


def plan(part: str, case: str, steps: int) -> tuple[str, list[Stage], float]:
    """Surface, stages and noise on the points of one run."""
    if part == "floor":
        return "s_curve", [Stage(case, math.ceil(steps / STAGES))] * STAGES, 0.0
    first = Stage(NOISY, steps, batch=LARGE)
    return case, [first, Stage(TIKHONOV, math.ceil(SHARE * steps), REFINING)], NOISE


def surface_table(runs: Runs, steps: int) -> str:
    """Markdown: what was found on each surface, means over seeds."""
    lines = [
        "## Components of surfaces",
        "",
        f"A RealNVP (16 affine couplings, LU maps between them), {steps} steps of {LARGE} points "
        f"with Adam, whose rate rises to {RATE:g} and falls along a cosine, and noise of variance "
        f"σ² = 2α = {2 * ALPHA:g} on the batches, then {math.ceil(SHARE * steps)} steps of "
        f"{BATCH}, up to {REFINING:g}, with the Tikhonov term α = {ALPHA:g} in its place; "
        f"the points themselves have noise of standard deviation {NOISE:g}, a variance of "
        f"{NOISE**2:.0e}, which is what 1/s² less 2α should be along the normal. Last axis "
        "beside the true normal: median |cos| over 1000 test points, goal ≥ 0.98. Two dimensions: "
        "share of the points where two directions exceed a multiple of 2α, goal ≥ 95 % at 5, the "
        "default. "
        "1/s² along the three axes: medians, nothing subtracted. Means over seeds, and the worst "
        "seed in brackets.",
        "",
        "| surface | regularizer | \\|cos\\| | two dimensions: beyond 2 | beyond 5 "
        "| 1/s² along the axes | seeds |",
        "|---|---|---:|---:|---:|---:|---:|",
    ]
    for name in NORMALS:
        mine = [run for (part, case, _), run in runs.items() if (part, case) == ("surfaces", name)]
        for kind in (NOISY, TIKHONOV):
            ends = [stage for run in mine for stage in run if stage.kind == kind]
            if ends:
                cosines = [end.cosine for end in ends]
                flat = [[end.flat(threshold) for end in ends] for threshold in THRESHOLDS]
                shares = " | ".join(f"{mean(each):.1%} ({min(each):.1%})" for each in flat)
                columns = zip(*(end.variances for end in ends), strict=True)
                widths = ", ".join(f"{mean(column) + ends[0].floor:.2g}" for column in columns)
                lines.append(
                    f"| {name} | {kind} | {mean(cosines):.4f} ({min(cosines):.4f}) "
                    f"| {shares} | {widths} | {len(ends)} |"
                )
    lines += [
        "",
        "The last axes of the two, at the same points: median |cos| between them; share of the "
        "points where both report the same dimension; median ratio of 1/s² along the last axis, "
        "α by noise. Means over seeds, and the range.",
        "",
        "| surface | \\|cos\\| | same dimension | 1/s², α by noise |",
        "|---|---:|---:|---:|",
    ]
    for name in NORMALS:
        pairs = [
            agreement(*run)
            for (part, case, _), run in runs.items()
            if (part, case, len(run)) == ("surfaces", name, 2)
        ]
        if pairs:
            cells = [
                f"{mean(each):.3g} ({min(each):.3g} to {max(each):.3g})"
                for each in zip(*pairs, strict=True)
            ]
            lines.append(f"| {name} | {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def agreement(first: Outcome, second: Outcome) -> tuple[float, float, float]:
    """|cos| between last axes, share of points with the same dimension, ratio of 1/s²."""
    cosines = (first.axes[:, -1] * second.axes[:, -1]).sum(1).abs()
    dimensions = [end.dimensions(THRESHOLDS[-1]) for end in (first, second)]
    same = (dimensions[0] == dimensions[1]).float().mean().item()
    ratio = (second.scales[:, -1] / first.scales[:, -1]).square()
    return cosines.median().item(), same, ratio.median().item()


def floor_table(runs: Runs, steps: int) -> str:
    """Markdown: likelihood and thinnest direction along training on an S-curve without noise."""
    lines = [
        "## The floor of the likelihood",
        "",
        f"The same flow from scratch on an S-curve without any noise on the points, {steps} steps "
        f"of {BATCH} in three parts, in each of which the learning rate falls to zero. NLL: of "
        "the test points, in nats; smallest 1/s²: median over the points, nothing subtracted; both "
        f"after each part. 2α is {2 * ALPHA:g}.",
        "",
        "| regularizer | seed | NLL | smallest 1/s² | \\|cos\\| |",
        "|---|---:|---:|---:|---:|",
    ]
    for (part, kind, seed), run in sorted(runs.items()):
        if part != "floor" or not run:
            continue
        nll = " → ".join(f"{stage.nll:.2f}" for stage in run)
        least = " → ".join(f"{stage.variances[-1] + stage.floor:.2g}" for stage in run)
        lines.append(f"| {kind} | {seed} | {nll} | {least} | {run[-1].cosine:.4f} |")
    return "\n".join(lines) + "\n"


def picture(runs: Runs, path: Path, seed: int = 0) -> None:
    """The surfaces, each with the last axes at some points and how well they are normals."""
    limit = torch.tensor([[-2.7, 2.7]] * 3).numpy()
    drawing, panels = point_panels(limit, len(NORMALS))
    for panel, name in zip(panels, NORMALS, strict=True):
        run = runs.get(("surfaces", name, seed))
        if not run:
            continue
        x, axes = run[-1].points, run[-1].axes[:60, -1]
        panel.scatter(*x.T, s=4, c=DATA, linewidths=0, alpha=0.7, depthshade=False)
        for sign in (-1, 1):
            ends = (sign * axes).T
            panel.quiver(
                *x[:60].T, *ends, length=0.3, arrow_length_ratio=0, color=SERIES[0], lw=0.7
            )
        panel.set_box_aspect((1, 1, 1), zoom=1.55)
        panel.set_axis_off()
        title(panel, f"{name}: |cos| {run[-1].cosine:.4f}")
    save_png(drawing, path)


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the experiment."""
    parser = command_line(__doc__, "out", "figure", seeds=1, steps=10_000)
    every = [(part, case) for part, cases in EVERYTHING.items() for case in cases]
    cases = [case for _, case in every]
    parser.add_argument("--floor_steps", type=int, default=6000, help="without noise on points")
    parser.add_argument("--only", choices=cases, nargs="+", default=cases)
    parser.add_argument("--keep", type=Path, help="file of runs, to go on with after a break")
    options = begin(parser, arguments)
    runs: Runs = {}
    if options.keep is not None and options.keep.exists():
        kept = torch.load(options.keep)
        runs = {key: [Outcome(**end) for end in run] for key, run in kept.items()}
    for seed in range(options.seeds):
        for part, case in every:
            if case not in options.only or (part, case, seed) in runs:
                continue
            steps = options.floor_steps if part == "floor" else options.steps
            name, stages, noise = plan(part, case, steps)
            runs[part, case, seed] = train(name, stages, seed, noise=noise)
            for end in runs[part, case, seed]:
                print(part, case, seed, end.nll, end.cosine, end.variances, flush=True)
            if options.keep is not None:
                torch.save({key: [*map(vars, run)] for key, run in runs.items()}, options.keep)
    write_section(options.out, "components of surfaces", surface_table(runs, options.steps))
    write_section(options.out, "floor", floor_table(runs, options.floor_steps))
    if options.figure:
        picture(runs, options.figure)


if __name__ == "__main__":
    main()
