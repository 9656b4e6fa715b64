"""Whether the density on a manifold is learned from more data: KL divergence over data points.

    python -m experiments.consistency.run

Points lie on a circle exactly, where no density of the plane exists. The bounded objectives see
them with noise, or score their residuals with a scale, that falls with the number of points. The
density on the learned curve is compared with the true one along the angle. Data, networks and the
measure are those of the experiment on the circle; the epoch that does best on a fifth of the points
is taken.
"""

from collections.abc import Sequence
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import torch

from experiments.circle.run import BETA, FLOWS, RATE, Outcome, fit_spline, measure
from experiments.common.command import begin, command_line
from experiments.common.results import Record, Results, chosen, finite
from experiments.common.training import Budget, fit
from lightning_flows.bases.base import Density
from lightning_flows.datamodules import Toy
from lightning_flows.modules import FlowModule, OffManifoldModule, TwoStepModule, VariationalModule
from lightning_flows.objectives import LearnedScale
from lightning_flows.plots.canvas import SERIES, SMALL, figure, plain, save_png

__all__ = ["METHODS", "main", "noise", "slope", "train"]

NOISE, POWER = 0.5, -0.25  # σ = 0.5 n^(-1/4)
SHARE = 5  # one row of so many is for validation
WEIGHT = 0.1  # of the reconstruction beside the likelihood, in units of 1/(2σ²)
OFF, BOUND, TWO_STEP = "off-manifold", "variational", "two-step"
METHODS = (OFF, BOUND, TWO_STEP)


def noise(n: int) -> float:
    """Standard deviation of the noise for n data points."""
    return NOISE * n**POWER


def train(method: str, n: int, seed: int, steps: int) -> Outcome:
    """Train one method once on n points, and compare its density with the true one."""
    data = Toy("von_mises_circle", n_train=n - n // SHARE, n_val=n // SHARE, seed=seed)
    budget = Budget.of(data, steps)
    sigma, recipe = noise(n), budget.recipe(RATE)
    torch.manual_seed(seed)
    if method == TWO_STEP:
        first = TwoStepModule(
            FLOWS["free"],
            data.event_shape,
            manifold_epochs=budget.epochs,
            reconstruction=BETA,
            **recipe,
        )
        sound = fit(first, data, budget, best=True)
        with torch.no_grad():
            u = {split: first.flow.project(rows["x"]) for split, rows in data.load().items()}
        prior: Density = fit_spline(u["train"], steps, seed, validation=u["val"])
        return measure(first.flow, prior, data, sound)
    module: FlowModule
    if method == OFF:
        module = OffManifoldModule(
            FLOWS["padded"],
            data.event_shape,
            scale=LearnedScale(1.0, floor=sigma / 2),
            noise=sigma,
            reconstruction=WEIGHT / (2 * sigma**2),
            **recipe,
        )
    else:
        scale = LearnedScale(1.0, floor=sigma)
        module = VariationalModule(FLOWS["free"], data.event_shape, scale=scale, **recipe)
    sound = fit(module, data, budget, best=True)
    return measure(module.flow, module.flow.prior, data, sound)


def slope(runs: Sequence[Record], points: Sequence[int]) -> float:
    """Of log(median KL) over log n, by least squares."""
    medians = [median(finite(chosen(runs, n=n), "kl")) for n in points]
    return float(np.polyfit(np.log(points), np.log(medians), 1)[0])


def picture(runs: Sequence[Record], points: Sequence[int], path: Path) -> None:
    """Log-log: every run as a dot, medians as a line, and the line of the slope."""
    drawing = figure(5.4, 3.2, pad=0.06)
    axes: Any = drawing.add_subplot()
    for place, (method, color) in enumerate(zip(METHODS, SERIES, strict=True)):
        mine = chosen(runs, method=method)
        shift = 1.12 ** (place - 1)  # dots of methods side by side
        for n in points:
            found = finite(chosen(mine, n=n), "kl")
            axes.plot([n * shift] * len(found), found, ".", color=color, ms=4, alpha=0.6)
        medians = [median(finite(chosen(mine, n=n), "kl")) for n in points]
        label = f"{method}: slope {slope(mine, points):.2f}"
        axes.plot([n * shift for n in points], medians, color=color, lw=1.5, label=label)
    axes.set(xscale="log", yscale="log")
    axes.grid(color="0.93", lw=0.7)
    axes.set_axisbelow(True)
    axes.set_xlabel("data points n", fontsize=SMALL)
    axes.set_ylabel("KL divergence, nats", fontsize=SMALL)
    axes.legend(fontsize=SMALL, frameon=False)
    plain(axes)
    save_png(drawing, path)


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the experiment."""
    parser = command_line(__doc__, "consistency", figure=True, seeds=5, steps=4000)
    parser.add_argument("--points", type=int, nargs="+", default=[100, 1000, 10_000, 100_000])
    options = begin(parser, arguments)
    facts = {"rate": RATE, "noise": NOISE, "power": POWER, "share": SHARE, "weight": WEIGHT}
    results = Results.begin(options, "consistency", beta=BETA, **facts)
    for seed in range(options.seeds):
        for n in options.points:
            for method in METHODS:
                found = train(method, n, seed, options.steps)
                figures = {"kl": found.kl, "mass": found.mass, "error": found.error}
                results.add(options.out, method=method, n=n, seed=seed, **figures)
        picture(results.runs, options.points, options.figure)


if __name__ == "__main__":
    main()
