"""What it costs to lose half of the dimensions: spline flows beside funnels of the same depth.

    LIGHTNING_FLOWS_DATA=data python -m experiments.reduction.run

Both have four layers of the same splines and conditioners. The bijective flow has as many latents
as dimensions; in the reducing one the third layer is a funnel, which scores what it drops.
"""

import math
from collections.abc import Sequence
from pathlib import Path

import torch

from experiments.common.command import begin, command_line
from experiments.common.results import Results
from experiments.common.tables import TABLES, in_memory
from experiments.common.training import Budget, fit
from lightning_flows.core.shapes import Shape, size
from lightning_flows.datamodules import Digits
from lightning_flows.datamodules.base import FlowDataModule
from lightning_flows.flows import Flow, NeuralSplineFlow, SurjectiveSplineFlow
from lightning_flows.modules import SurjectiveModule

__all__ = ["METHODS", "STEPS", "main", "make", "run"]

METHODS = BIJECTIVE, REDUCING = "bijective", "reducing"
HIDDEN, BINS, LAYERS, BATCH, RATE = (128, 128), 8, 4, 256, 1e-3
STEPS = {"digits": 600, "protein": 800, "MINIBOONE": 500}
"""Budgets: digits and MINIBOONE overfit early."""


def load(name: str, folder: Path, seed: int) -> FlowDataModule:
    """Digits, or a table in units of its training rows; the split follows the seed."""
    if name == "digits":
        return Digits(batch_size=BATCH, seed=seed)
    return in_memory(TABLES[name].load(folder, seed), BATCH, seed)


def make(method: str, event_shape: Shape, hidden: Sequence[int] = HIDDEN) -> Flow:
    """A spline flow with as many latents as dimensions, or with half as many."""
    if method == BIJECTIVE:
        return NeuralSplineFlow(event_shape, layers=LAYERS, bins=BINS, hidden=hidden, mixing="lu")
    features, kept = size(event_shape), LAYERS // 2
    widths = (*[features] * kept, *[-(-features // 2)] * (LAYERS - kept))
    return SurjectiveSplineFlow(event_shape, widths=widths, bins=BINS, hidden=hidden)


def run(method: str, data: FlowDataModule, seed: int, steps: int) -> float:
    """Mean log-density of test rows in nats, by the epoch that did best on validation rows."""
    budget = Budget.of(data, steps)
    torch.manual_seed(seed)
    module = SurjectiveModule(
        lambda shape: make(method, shape), data.event_shape, **budget.recipe(RATE)
    )
    if not fit(module, data, budget, best=True):
        return math.nan
    with torch.no_grad():
        return module.log_prob(data.load()["test"]["x"]).mean().item()


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the experiment."""
    parser = command_line(__doc__, "reduction", data=True, seeds=5)
    parser.add_argument("--only", choices=STEPS, nargs="+", default=list(STEPS))
    parser.add_argument("--steps", type=int, help="of every data set, in place of their own")
    options = begin(parser, arguments)
    facts = {"steps": STEPS, "layers": LAYERS, "bins": BINS, "hidden": HIDDEN, "rate": RATE}
    results = Results.begin(options, "reduction", **facts)
    for seed in range(options.seeds):
        for name in options.only:
            data = load(name, options.data, seed)
            for method in METHODS:
                nats = run(method, data, seed, options.steps or STEPS[name])
                results.add(options.out, data=name, method=method, seed=seed, nats=nats)


if __name__ == "__main__":
    main()
