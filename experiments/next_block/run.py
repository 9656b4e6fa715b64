"""What the affine gain says that the next block will gain, and what it gains, over ten blocks.

    python -m experiments.next_block.run

Moons, standardized. For each block the gain Δ is measured on latents of validation points
(`metrics.affine_gain`, which chooses the rotation); an affine coupling behind that rotation is
trained on latents of the training points, and what it gains is measured on test points. Then it
stays as it is, and its latents are the data of the next one. All points are drawn anew for each
block, so that no block sees latents that an earlier one was fitted to.
"""

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from experiments.common.command import begin, command_line
from experiments.common.results import Record, Results, chosen
from experiments.common.tables import in_memory
from experiments.common.training import Budget, fit
from lightning_flows.datamodules import Toy
from lightning_flows.flows import RealNVP
from lightning_flows.metrics import affine_gain
from lightning_flows.modules import DensityModule
from lightning_flows.plots.canvas import SMALL, figure, plain, save_png
from lightning_flows.transforms import Standardize

__all__ = ["main", "moons", "next_block", "picture"]

ROWS, BATCH, RATE = 40_000, 512, 5e-3
BLOCK = partial(RealNVP, layers=1, hidden=(64, 64))

Splits = Mapping[str, Tensor]
Encode = Callable[[Tensor], Tensor]


def moons(seed: int, rows: int = ROWS) -> Splits:
    """Points in units of those of seed 0: "train", "val" and "test", as many of each."""
    units = Standardize(2)
    units.fit(Toy("moons", seed=0).load()["train"]["x"])
    toy = Toy("moons", n_train=rows, n_val=rows, n_test=rows, seed=seed)
    return {name: units.encode(fields["x"])[0] for name, fields in toy.load().items()}


@torch.no_grad()
def next_block(z: Splits, *, seed: int, steps: int) -> tuple[Encode, dict[str, float]]:
    """Measure what a block could gain, train one, and measure what it gains.

    Returns:
        The block, and "delta" and "gain" with their standard errors, nats.
    """
    expected = affine_gain(z["val"], seed=seed)
    turned = {name: x @ expected.rotation.mT.to(x) for name, x in z.items()}
    data = in_memory({"train": turned["train"]}, BATCH, seed)
    budget = Budget.of(data, steps)
    torch.manual_seed(seed)
    module = DensityModule(BLOCK, 2, **budget.recipe(RATE))
    with torch.enable_grad():
        sound = fit(module, data, budget)
    if not sound:
        raise ArithmeticError("a parameter is not finite.")
    before = module.flow.base.log_prob(turned["test"])
    gains = (module.log_prob(turned["test"]) - before).double()
    found = {
        "delta": expected.gain.item(),
        "delta_error": expected.standard_error.item(),
        "gain": gains.mean().item(),
        "gain_error": gains.std().item() / len(gains) ** 0.5,
    }

    @torch.no_grad()
    def block(x: Tensor) -> Tensor:
        return module.encode(x @ expected.rotation.mT.to(x))

    return block, found


def picture(runs: Sequence[Record], path: Path) -> None:
    """Measured Δ and what the block gained, by block, on a logarithmic scale; a panel a seed."""
    seeds = sorted({run["seed"] for run in runs})
    drawing = figure(2.9 * len(seeds), 2.7)
    shared: Any = None
    for place, seed in enumerate(seeds):
        axes: Any = drawing.add_subplot(1, len(seeds), place + 1, sharey=shared)
        shared = axes if shared is None else shared
        mine = chosen(runs, seed=seed)
        for name, color, marker, label, shift in (
            ("delta", "C0", "o", "Δ, measured before", -0.12),
            ("gain", "C1", "s", "gain of the block", 0.12),
        ):
            axes.errorbar(
                [run["block"] + shift for run in mine],
                [run[name] for run in mine],
                [2 * run[f"{name}_error"] for run in mine],
                color=color, marker=marker, ms=4, lw=0, elinewidth=1, label=label,
            )  # fmt: skip
        axes.axhline(0, color="0.6", lw=0.7)
        axes.set_yscale("symlog", linthresh=0.01)
        axes.set_ylim(-0.003, 1)
        axes.set_xticks(range(1, len(mine) + 1))
        axes.set_title(f"seed {seed}", fontsize=SMALL)
        axes.set_xlabel("block", fontsize=SMALL)
        plain(axes)
        if not place:
            axes.set_ylabel("nats", fontsize=SMALL)
            axes.legend(fontsize=SMALL, frameon=False)
    save_png(drawing, path)


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the experiment."""
    parser = command_line(__doc__, "next_block", figure=True, seeds=3, steps=1500, blocks=10)
    options = begin(parser, arguments)
    facts = {"rows": ROWS, "batch": BATCH, "rate": RATE, "hidden": [64, 64]}
    results = Results.begin(options, "next_block", **facts)
    for seed in range(options.seeds):
        blocks: list[Encode] = []
        while len(blocks) < options.blocks:
            z = moons(seed * options.blocks + len(blocks))
            for block in blocks:
                z = {name: block(x) for name, x in z.items()}
            block, found = next_block(z, seed=seed, steps=options.steps)
            blocks.append(block)
            results.add(options.out, seed=seed, block=len(blocks), **found)
    picture(results.runs, options.figure)


if __name__ == "__main__":
    main()
