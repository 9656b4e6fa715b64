"""Which methods learn a density on a circle: von Mises, and one latent.

    python -m benchmarks.circle --out docs/results.md --figure docs/images/circle.png

An encoder has to cut the circle open somewhere. Joint training puts the cut where data are rare and
spaces the latents so that they follow a standard normal prior; an autoencoder has no reason to do
either. All methods see the same data with the same batch size, learning rates and steps.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from statistics import mean
from typing import Any

import torch
from torch import Tensor

from benchmarks.experiment import begin, command_line
from benchmarks.intervals import spread, spread_name
from benchmarks.report import write_section
from benchmarks.training import BATCH, WARMUP, fit_density, train_joint
from lightning_flows.bases import Normal
from lightning_flows.bases.base import Density
from lightning_flows.datamodules import Toy
from lightning_flows.flows import FreeFormFlow, NeuralSplineFlow, PaddedFlow, RealNVP
from lightning_flows.flows.injective import InjectiveFlow
from lightning_flows.jacobians import log_volume
from lightning_flows.nets import ResidualDecoder, ResidualEncoder
from lightning_flows.objectives import (
    ExactVolume,
    FreeFormVolume,
    NoVolume,
    StochasticVolume,
    Volume,
)
from lightning_flows.plots.canvas import ACCENT, DATA, MODEL, figure, plain, save_png, title

__all__ = ["METHODS", "Outcome", "main", "run"]

BETA, RATE, POINTS, GRID = 100.0, 3e-3, 50_000, 20_000
EXACT, STOCHASTIC, FREE = "joint, exact", "joint, stochastic", "joint, free-form"
NETS = {EXACT: "padded", STOCHASTIC: "padded", FREE: "free"}
VOLUMES: dict[str, type[Volume]] = {
    EXACT: ExactVolume,
    STOCHASTIC: StochasticVolume,
    FREE: FreeFormVolume,
}
PRIORS = ("standard normal", "fitted normal", "fitted spline")
KINDS = {"padded": "coupling flow", "free": "free-form nets"}
TWO_STEP = tuple(f"two-step, {kind}, {prior}" for kind in KINDS.values() for prior in PRIORS)
METHODS = (*VOLUMES, *TWO_STEP)


@dataclass(frozen=True)
class Outcome:
    """What training ended in; all figures are NaN where it broke.

    Args:
        kl: KL(true ‖ learned density along the circle, normalized), nats.
        mass: integral of the learned density along the circle; 1 if it holds together.
        error: mean squared reconstruction error of data.
        angles: grid of angles, (n,).
        truth: true density at them, (n,).
        density: learned density at them, normalized, (n,).
        curve: what the points of the grid are projected to, (n, 2).
    """

    kl: float
    mass: float
    error: float
    angles: Tensor
    truth: Tensor
    density: Tensor
    curve: Tensor


def run(seed: int, steps: int) -> dict[str, Outcome]:
    """Train all methods once."""
    data = Toy("von_mises_circle", n_train=POINTS, seed=seed)
    x = data.load()["train"]["x"]
    outcomes = {}
    for name, volume in VOLUMES.items():
        flow = make(NETS[name], seed)
        sound = train_joint(flow, volume(), x, steps, beta=BETA, rate=RATE)
        outcomes[name] = measure(flow, flow.prior, data, sound)
    for kind, label in KINDS.items():
        flow = make(kind, seed)
        sound = train_joint(flow, NoVolume(), x, steps, beta=BETA, rate=RATE, prior=False)
        with torch.no_grad():
            u = flow.project(x)
        normal = Normal(1, loc=u.mean().item(), scale=u.std().item())
        spline = fit_spline(u, steps)
        for prior, made in zip(PRIORS, (flow.prior, normal, spline), strict=True):
            outcomes[f"two-step, {label}, {prior}"] = measure(flow, made, data, sound)
    return {name: outcomes[name] for name in METHODS}


def make(kind: str, seed: int) -> InjectiveFlow:
    """A coupling flow with padding, or free networks, with a standard normal prior."""
    torch.manual_seed(seed)
    if kind == "padded":
        ambient = partial(RealNVP, layers=8, hidden=(64, 64), activation="tanh")
        return PaddedFlow(2, latent_features=1, ambient=ambient, prior=Normal)
    return FreeFormFlow(
        2,
        latent_features=1,
        encoder=partial(ResidualEncoder, hidden=(64, 64)),
        decoder=partial(ResidualDecoder, hidden=(64, 64)),
        prior=Normal,
    )


def fit_spline(u: Tensor, steps: int) -> Density:
    """The second step with a flexible prior: latents (n, 1), a spline of 16 bins over them."""
    reach, spread = float(u.abs().max()), float(u.std())
    base = partial(Normal, loc=float(u.mean()), scale=spread, learned=True)
    prior = NeuralSplineFlow(
        1, layers=1, bins=16, bound=1.2 * reach, hidden=(8,), autoregressive=True, base=base
    )
    fit_density(prior, u, steps, rate=RATE)
    return prior


@torch.no_grad()
def measure(flow: InjectiveFlow, prior: Density, data: Toy, sound: bool = True) -> Outcome:
    """Integrate over a grid of angles in float64.

    The density at a point of the circle is that of its projection with respect to arc length. On
    the unit circle an element of length is an element of the angle.
    """
    angles = (torch.arange(GRID, dtype=torch.float64) + 0.5) * (2 * math.pi / GRID) - math.pi
    x = torch.stack([angles.cos(), angles.sin()], 1)
    flow, prior = flow.double(), prior.double()
    u = flow.project(x)
    curve = flow.embed(u)
    density = (prior.log_prob(u) - log_volume(flow.embed, u)).exp()
    truth = data.true_log_prob(x).exp()
    cell = 2 * math.pi / GRID
    mass = density.sum() * cell
    density = density / mass
    kl = (truth * (truth / density).log()).sum() * cell
    error = (truth * (x - curve).square().sum(1)).sum() * cell
    numbers = [value.item() if sound else math.nan for value in (kl, mass, error)]
    return Outcome(*numbers, angles, truth, density, curve)


def table(outcomes: dict[str, Sequence[Outcome]], steps: int) -> str:
    """Markdown with means over the runs that did not break."""
    seeds = len(next(iter(outcomes.values())))
    lines = [
        "## A von Mises distribution on a circle",
        "",
        f"Concentration κ = 2, no noise, one latent; β = {BETA:g}, {steps} steps of {BATCH} "
        f"points, Adam with learning rate {RATE:g} and a cosine, {spread_name(seeds)}. "
        "Joint methods have a fixed standard normal prior: exact and stochastic with 8 "
        f"affine couplings, free-form with residual networks; their first {WARMUP:.0%} of steps "
        "learn the reconstruction alone. With one latent every normalized probe is ±1, so the "
        "stochastic gradient is the exact one, and only the batches differ. Two-step trains the "
        "autoencoder for as many steps, then the spline prior for as many again; the autoencoder "
        "is the same for the three priors. KL is KL(true ‖ learned density along the circle, "
        "normalized); mass is the integral of the learned density along the circle.",
        "",
        "| method and prior | KL, nats | mass | squared error | NaN |",
        "|---|---:|---:|---:|---:|",
    ]
    for name, runs in outcomes.items():
        sound = [run for run in runs if math.isfinite(run.kl)]
        columns = [[r.kl for r in sound], [r.mass for r in sound], [r.error for r in sound]]
        cells = " | ".join(spread(values) for values in columns)
        lines.append(f"| {name} | {cells} | {len(runs) - len(sound)} |")
    return "\n".join(lines) + "\n"


def picture(outcomes: dict[str, Sequence[Outcome]], path: Path) -> None:
    """Above: the learned curves, colored by density. Below: densities along the angle."""
    from matplotlib.collections import LineCollection

    shown = (EXACT, FREE, TWO_STEP[0], TWO_STEP[3], TWO_STEP[5])
    drawing = figure(2.0 * len(shown), 4.2, pad=0.05)
    grid = drawing.add_gridspec(2, len(shown), height_ratios=(1.1, 1))
    for column, name in enumerate(shown):
        run, color = outcomes[name][0], MODEL if name in VOLUMES else ACCENT
        top: Any = drawing.add_subplot(grid[0, column])
        ring = torch.stack([run.angles.cos(), run.angles.sin()], 1)[::50]
        top.plot(*ring.T, color="0.85", lw=5, zorder=0)
        curve = run.curve[::10]
        pieces = torch.stack([curve[:-1], curve[1:]], 1)
        unbroken = (pieces[:, 0] - pieces[:, 1]).norm(dim=1) < 0.2
        lines = LineCollection(list(pieces[unbroken].numpy()), cmap="viridis", lw=2.2)
        lines.set(array=run.density[::10][:-1][unbroken].numpy(), clim=(0, 0.55))
        top.add_collection(lines)
        top.set(xlim=(-1.3, 1.3), ylim=(-1.3, 1.3), aspect="equal", xticks=[], yticks=[])
        plain(top, frame=False)
        title(top, "\n".join(name.split(", ")) + "\n" * (2 - name.count(", ")))
        low: Any = drawing.add_subplot(grid[1, column])
        low.fill_between(run.angles, run.truth, color=DATA, alpha=0.35, lw=0)
        for other in outcomes[name]:
            low.plot(other.angles[::20], other.density[::20], color=color, lw=1, alpha=0.8)
        low.set(xlim=(-math.pi, math.pi), ylim=(0, 0.7))
        low.set_xticks([-math.pi, 0, math.pi], ["−π", "0", "π"])
        low.set_yticks([0, 0.2, 0.4, 0.6], ["0", "0.2", "0.4", "0.6"] if column == 0 else [""] * 4)
        plain(low)
        sound = [other.kl for other in outcomes[name] if math.isfinite(other.kl)]
        label = f"KL {mean(sound):.3f} nats" if sound else "NaN"
        low.text(0.5, 0.95, label, transform=low.transAxes, ha="center", va="top", fontsize=8)
        low.set_xlabel("angle", fontsize=8)
        if column == 0:
            low.set_ylabel("density", fontsize=8)
    save_png(drawing, path)


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the experiment."""
    options = begin(command_line(__doc__, "out", "figure", seeds=5, steps=2000), arguments)
    runs = []
    for seed in range(options.seeds):
        runs.append(run(seed, options.steps))
        outcomes = {name: [each[name] for each in runs] for name in METHODS}
        text = table(outcomes, options.steps)
        print(f"after {len(runs)} of {options.seeds} seeds:\n{text}", flush=True)
        write_section(options.out, "circle", text)
        if options.figure:
            picture(outcomes, options.figure)


if __name__ == "__main__":
    main()
