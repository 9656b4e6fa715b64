"""Which methods learn a density on a circle: von Mises, and one latent.

    python -m experiments.circle.run

An encoder has to cut the circle open somewhere. Joint training puts the cut where data are rare and
spaces the latents so that they follow a standard normal prior; an autoencoder has no reason to do
either. All methods see the same data with the same batch size, learning rates and steps.

The first of two steps is a `TwoStepModule`'s. The second is a `DensityModule` on its latents, so
that three priors stand on one autoencoder; nothing is trained for two of them.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from statistics import mean
from typing import Any

import torch
from torch import Tensor

from experiments.common.command import begin, command_line
from experiments.common.results import Results
from experiments.common.training import Budget, fit
from lightning_flows.bases import Normal
from lightning_flows.bases.base import Density
from lightning_flows.datamodules import Arrays, Toy
from lightning_flows.flows import AutoregressiveSplineFlow, FreeFormFlow, PaddedFlow, RealNVP
from lightning_flows.flows.injective import InjectiveFlow
from lightning_flows.jacobians import log_volume
from lightning_flows.modules import DensityModule, FreeFormModule, RectangularModule, TwoStepModule
from lightning_flows.modules.injective import InjectiveModule
from lightning_flows.nets import ResidualDecoder, ResidualEncoder
from lightning_flows.plots.canvas import ACCENT, DATA, MODEL, figure, plain, save_png, title

__all__ = ["METHODS", "Outcome", "main", "run"]

BETA, RATE, POINTS, GRID = 100.0, 3e-3, 50_000, 20_000
WARMUP = 0.2  # share of the steps that joint methods spend on the reconstruction alone, at first
EXACT, FREE = "joint, exact", "joint, free-form"
JOINT: dict[str, tuple[type[InjectiveModule], str]] = {
    EXACT: (RectangularModule, "padded"),
    FREE: (FreeFormModule, "free"),
}
PRIORS = ("standard normal", "fitted normal", "fitted spline")
KINDS = {"padded": "coupling flow", "free": "free-form nets"}
TWO_STEP = tuple(f"two-step, {kind}, {prior}" for kind in KINDS.values() for prior in PRIORS)
METHODS = (*JOINT, *TWO_STEP)
FLOWS: dict[str, Callable[..., InjectiveFlow]] = {
    "padded": partial(
        PaddedFlow,
        latent_features=1,
        ambient=partial(RealNVP, layers=8, hidden=(64, 64), activation="tanh"),
        prior=Normal,
    ),
    "free": partial(
        FreeFormFlow,
        latent_features=1,
        encoder=partial(ResidualEncoder, hidden=(64, 64)),
        decoder=partial(ResidualDecoder, hidden=(64, 64)),
        prior=Normal,
    ),
}


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
    """Train all methods once, on points of this seed."""
    data = Toy("von_mises_circle", n_train=POINTS, n_val=0, seed=seed)
    budget = Budget.of(data, steps)
    outcomes = {}
    for name, (family, kind) in JOINT.items():
        torch.manual_seed(seed)
        module = family(
            FLOWS[kind],
            data.event_shape,
            reconstruction=BETA,
            warmup=budget.warmup(WARMUP),
            **budget.recipe(RATE),
        )
        sound = fit(module, data, budget)
        outcomes[name] = measure(module.flow, module.flow.prior, data, sound)
    for kind, label in KINDS.items():
        torch.manual_seed(seed)
        first = TwoStepModule(
            FLOWS[kind],
            data.event_shape,
            manifold_epochs=budget.epochs,
            reconstruction=BETA,
            **budget.recipe(RATE),
        )
        sound = fit(first, data, budget)
        with torch.no_grad():
            u = first.flow.project(data.load()["train"]["x"])
        normal = Normal(1, loc=u.mean().item(), scale=u.std().item())
        priors = (first.flow.prior, normal, fit_spline(u, steps, seed) if sound else normal)
        for prior, made in zip(PRIORS, priors, strict=True):
            outcomes[f"two-step, {label}, {prior}"] = measure(first.flow, made, data, sound)
    return {name: outcomes[name] for name in METHODS}


def fit_spline(
    u: Tensor, steps: int, seed: int, *, validation: Tensor | None = None
) -> DensityModule:
    """The second step with a flexible prior: a spline of 16 bins over latents (n, 1).

    Args:
        u: latents to train on.
        steps: of training.
        seed: of weights and batches.
        validation: latents by which the best epoch is taken; the last one is where None.
    """
    rows = {"train": u} if validation is None else {"train": u, "val": validation}
    latents = Arrays(data=rows, validation=0, test=0, seed=seed)
    budget = Budget.of(latents, steps)
    torch.manual_seed(seed)
    bound = 1.2 * float(((u - u.mean()) / u.std()).abs().max())  # the bins lie where latents do
    spline = partial(AutoregressiveSplineFlow, layers=1, bins=16, bound=bound, hidden=(8,))
    module = DensityModule(spline, latents.event_shape, **budget.recipe(RATE))
    fit(module, latents, budget, best=validation is not None)
    return module


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


def picture(outcomes: dict[str, Sequence[Outcome]], path: Path) -> None:
    """Above: the learned curves, colored by density. Below: densities along the angle."""
    from matplotlib.collections import LineCollection

    shown = (EXACT, FREE, TWO_STEP[0], TWO_STEP[3], TWO_STEP[5])
    drawing = figure(2.0 * len(shown), 4.2, pad=0.05)
    grid = drawing.add_gridspec(2, len(shown), height_ratios=(1.1, 1))
    for column, name in enumerate(shown):
        run, color = outcomes[name][0], MODEL if name in JOINT else ACCENT
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
    parser = command_line(__doc__, "circle", figure=True, seeds=5, steps=2000)
    options = begin(parser, arguments)
    results = Results.begin(options, "circle", beta=BETA, rate=RATE, warmup=WARMUP)
    runs = []
    for seed in range(options.seeds):
        runs.append(run(seed, options.steps))
        for name, found in runs[-1].items():
            figures = {"kl": found.kl, "mass": found.mass, "error": found.error}
            results.add(options.out, method=name, seed=seed, **figures)
        outcomes = {name: [each[name] for each in runs] for name in METHODS}
        picture(outcomes, options.figure)


if __name__ == "__main__":
    main()
