"""What it costs to lose half of the dimensions: spline flows beside funnels of the same depth.

    LIGHTNING_FLOWS_DATA=data python -m benchmarks.reduction --out docs/results.md

Both have four layers of the same splines and conditioners. The bijective flow has as many latents
as dimensions; in the reducing one the third layer is a funnel, which scores what it drops.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path

import torch

from benchmarks.data import Split, digits
from benchmarks.experiment import begin, command_line
from benchmarks.intervals import explain, shown, spread, spread_name, unpaired
from benchmarks.peers import Candidate
from benchmarks.quality import Setting, fit
from benchmarks.report import write_section
from benchmarks.tables import TABLES
from lightning_flows.flows import Flow, NeuralSplineFlow, SurjectiveSplineFlow

__all__ = ["SETTINGS", "main", "make", "table"]

METHODS = BIJECTIVE, REDUCING = "bijective", "reducing"
HIDDEN, BINS = (128, 128), 8
SETTINGS = (
    Setting("digits", 300, 256, 30, layers=4, hidden=HIDDEN),
    Setting("protein", 800, 256, 16, layers=4, hidden=HIDDEN),
    Setting("MINIBOONE", 500, 256, 25, layers=4, hidden=HIDDEN),
)
"""Budgets: digits and MINIBOONE overfit early."""


def load(name: str, folder: Path) -> Split:
    """Digits, or a table in units of its training rows."""
    if name == "digits":
        return digits()
    rows = TABLES[name].load(folder)
    return Split(rows["train"], rows["val"], rows["test"])


def make(method: str, features: int, setting: Setting) -> Flow:
    """A spline flow with as many latents as dimensions, or with half as many."""
    if method == BIJECTIVE:
        return NeuralSplineFlow(
            features, layers=setting.layers, bins=BINS, hidden=setting.hidden, mixing="lu"
        )
    half = -(-features // 2)
    kept = setting.layers // 2
    widths = (*[features] * kept, *[half] * (setting.layers - kept))
    return SurjectiveSplineFlow(features, widths=widths, bins=BINS, hidden=setting.hidden)


def table(nats: Mapping[tuple[str, str], Sequence[float]], settings: Sequence[Setting]) -> str:
    """Markdown: test nats of both, and the difference."""
    seeds = max(map(len, nats.values()))
    done = [setting for setting in settings if (setting.data, REDUCING) in nats]
    lines = [
        "## Half of the dimensions",
        "",
        f"Test nats, {spread_name(seeds)}; {settings[0].layers} layers, "
        f"splines of {BINS} bins, conditioners {HIDDEN[0]}x{HIDDEN[1]}, LU maps between "
        f"layers. Steps of {settings[0].batch} rows with Adam at 1e-3 and a cosine; the "
        "checkpoint that did best on validation rows. Rows of tables are in units of the training "
        "rows, digits of pixels "
        "scaled to (0, 1). Difference: reducing minus bijective, in nats; above zero the flow with "
        f"half of the latents has the higher likelihood. {explain(len(done))}",
        "",
        f"| data | steps | {' | '.join(METHODS)} | difference |",
        "|---|---:|---:|---:|---:|",
    ]
    for setting in done:
        theirs, ours = (list(nats[setting.data, method]) for method in METHODS)
        cells = [spread(values, digits=4) for values in (theirs, ours)]
        cells.append(shown(unpaired(ours, theirs), len(done)))
        lines.append(f"| {setting.data} | {setting.steps} | {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def main(arguments: Sequence[str] | None = None, settings: Sequence[Setting] = SETTINGS) -> None:
    """Run the experiment."""
    parser = command_line(__doc__, "data", "out", seeds=5)
    options = begin(parser, arguments)
    nats: dict[tuple[str, str], list[float]] = {}
    for seed in range(options.seeds):
        for setting in settings:
            split = load(setting.data, options.data).first(setting.limit)
            for method in METHODS:
                torch.manual_seed(seed)
                flow = make(method, split.train.shape[1], setting)
                result, step = fit(
                    Candidate(flow, flow.log_prob, flow.sample), split, setting, seed
                )
                nats.setdefault((setting.data, method), []).append(result)
                print(
                    f"{setting.data}, {method}, seed {seed}: {result:.3f} (step {step})", flush=True
                )
        write_section(options.out, "half of the dimensions", table(nats, settings))
    print(table(nats, settings))


if __name__ == "__main__":
    main()
