"""Whether the mean loss falls below the entropy of the data at any time of the training.

    python -m experiments.bounds.run

Data lie around a sine, a circle and a sheet in five dimensions with noise of standard deviation
0.3, and their density is known by quadrature. The loss of points that are never trained on, with
the constant that makes it -log of a density where it is one, is compared with their -log p(x) every
`EVERY` steps: the mean of the difference is at least 0 for a loss that is bounded by the entropy.
"""

import math
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import lightning.pytorch as L
import torch
from torch import Tensor

from experiments.common.command import begin, command_line
from experiments.common.noisy import NOISY, Noisy
from experiments.common.results import Record, Results, chosen
from experiments.common.training import Budget, fit
from lightning_flows.bases import Normal
from lightning_flows.flows import FreeFormFlow, PaddedFlow, RealNVP
from lightning_flows.modules import (
    FlowModule,
    FreeFormModule,
    OffManifoldModule,
    VariationalModule,
)
from lightning_flows.nets import ResidualDecoder, ResidualEncoder
from lightning_flows.objectives import ExactVolume
from lightning_flows.plots.canvas import figure, save_png

__all__ = ["FACTORS", "FREE", "METHODS", "PADDED", "main"]

ROWS, FRESH, BATCH, RATE = 25_600, 2048, 256, 3e-3
EVERY = 25  # steps between two looks
FACTORS = (0.1, 1.0, 10.0)
"""The scale of the loss, in standard deviations of the noise."""

PADDED = partial(
    PaddedFlow,
    ambient=partial(RealNVP, layers=4, hidden=(32, 32), mixing="lu"),
    prior=Normal,
)
FREE = partial(
    FreeFormFlow,
    encoder=partial(ResidualEncoder, hidden=(64, 64)),
    decoder=partial(ResidualDecoder, hidden=(64, 64)),
    prior=Normal,
)


def _beta(scale: float) -> float:
    return 1 / (2 * scale**2)


METHODS: dict[str, Callable[[int, int, float, dict[str, Any]], FlowModule]] = {
    "off-manifold": lambda n, d, scale, options: OffManifoldModule(
        partial(PADDED, latent_features=d), n, scale=scale, **options
    ),
    "variational": lambda n, d, scale, options: VariationalModule(
        partial(FREE, latent_features=d), n, scale=scale, **options
    ),
    "joint, encoder at x": lambda n, d, scale, options: FreeFormModule(
        partial(FREE, latent_features=d), n, reconstruction=_beta(scale), **options
    ),
    "joint, exact volume": lambda n, d, scale, options: FreeFormModule(
        partial(FREE, latent_features=d),
        n,
        reconstruction=_beta(scale),
        volume=ExactVolume(),
        **options,
    ),
}
"""Modules by name, from D, d, the scale, and recipe."""


class Watch(L.Callback):
    """Mean and standard error of loss + log p over fresh points, every `EVERY` steps.

    Args:
        x: fresh points, (n, D).
        log_p: their log-density, (n,), nats.
    """

    def __init__(self, x: Tensor, log_p: Tensor) -> None:
        self.x, self.log_p = x.float(), log_p
        self.seen: list[tuple[float, float]] = []

    def on_train_batch_end(
        self, trainer: L.Trainer, pl_module: FlowModule, *_: Any, **__: Any
    ) -> None:
        """Look."""
        if trainer.global_step % EVERY:
            return
        pl_module.eval()
        with torch.no_grad():
            excess = pl_module.objective_nll(self.x).double() + self.log_p
        pl_module.train()
        error = excess.std().item() / len(excess) ** 0.5
        self.seen.append((excess.mean().item(), error))


def train(
    method: str, noisy: Noisy, factor: float, seed: int, steps: int, watch: Watch
) -> dict[str, Any]:
    """Train one module, and say what was seen on the way."""
    data = noisy.data(ROWS, BATCH, seed)
    budget = Budget.of(data, steps)
    torch.manual_seed(seed)
    module = METHODS[method](
        noisy.features, noisy.latents, factor * noisy.sigma, budget.recipe(RATE)
    )
    sound = fit(module, data, budget, callbacks=[watch])
    excess = [mean for mean, _ in watch.seen]
    finite = [(mean, error) for mean, error in watch.seen if math.isfinite(mean + error)]
    return {
        "excess": excess,
        "least": min((mean for mean, _ in finite), default=math.nan),
        "least_in_errors": min((mean / error for mean, error in finite), default=math.nan),
        "below": sum(mean < -3 * error for mean, error in watch.seen),
        "looks": len(watch.seen),
        "not_finite": len(watch.seen) - len(finite),
        "sound": sound,
    }


def picture(runs: Sequence[Record], path: Path) -> None:
    """Excess over steps: a row for each scale, a column for each data set, a line for each run."""
    drawing = figure(2.9 * len(NOISY), 2.0 * len(FACTORS) + 0.4)
    colors = dict(zip(METHODS, ("C0", "C2", "C1", "C3"), strict=True))
    for row, factor in enumerate(FACTORS):
        for column, name in enumerate(NOISY):
            place = row * len(NOISY) + column + 1
            axes = drawing.add_subplot(len(FACTORS), len(NOISY), place)
            axes.axhline(0.0, c="0.3", lw=0.8, ls="--")
            for method, color in colors.items():
                for run in chosen(runs, method=method, data=name, factor=factor):
                    heights = [math.nan if e is None else e for e in run["excess"]]
                    steps = [EVERY * (k + 1) for k in range(len(heights))]
                    label = method if run["seed"] == 0 and not row and not column else None
                    axes.plot(steps, heights, c=color, lw=0.6, alpha=0.7, label=label)
            axes.set_yscale("symlog", linthresh=0.1)
            axes.tick_params(labelsize=7)
            if row == 0:
                axes.set_title(name, fontsize=9)
            if column == 0:
                axes.set_ylabel(f"scale {factor:g}σ\nnats", fontsize=8)
            if row + 1 == len(FACTORS):
                axes.set_xlabel("step", fontsize=8)
    drawing.legend(loc="upper center", ncol=4, fontsize=8, frameon=False)
    drawing.tight_layout(rect=(0, 0, 1, 0.97))
    save_png(drawing, path)


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the experiment."""
    parser = command_line(__doc__, "bounds", figure=True, seeds=10, steps=500)
    parser.add_argument("--only", choices=METHODS, nargs="+", default=list(METHODS))
    options = begin(parser, arguments)
    facts = {"rows": ROWS, "fresh": FRESH, "batch": BATCH, "rate": RATE, "every": EVERY}
    results = Results.begin(options, "bounds", sigma=NOISY["sine"].sigma, entropy={}, **facts)
    for name, noisy in NOISY.items():
        log_p = noisy.log_prob(noisy.draw(20_000, 1))
        error = log_p.std().item() / len(log_p) ** 0.5
        results.facts["entropy"][name] = {"mean": -log_p.mean().item(), "error": error}
    for seed in range(options.seeds):
        for name, noisy in NOISY.items():
            fresh = noisy.draw(FRESH, 10_000 + seed)
            log_p = noisy.log_prob(fresh)
            for factor in FACTORS:
                for method in options.only:
                    watch = Watch(fresh, log_p)
                    found = train(method, noisy, factor, seed, options.steps, watch)
                    results.add(
                        options.out, method=method, data=name, factor=factor, seed=seed, **found
                    )
        picture(results.runs, options.figure)


if __name__ == "__main__":
    main()
