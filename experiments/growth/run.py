"""How the time of a step grows with the dimensions d and D, for every volume strategy.

    python -m experiments.growth.run

Free-form networks, small batches: what counts is how the lines rise, not where they lie. Times are
process CPU times, the least of some rounds in which the strategies take turns. A step is timed by
itself, without a Trainer, whose share does not grow with the dimensions.
"""

from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import torch

from benchmarks.rectangular import LoopOfJvps
from benchmarks.timing import Stopwatch, interleave, stopwatch
from experiments.common.command import begin, command_line
from experiments.common.results import Results
from lightning_flows.bases import Normal
from lightning_flows.flows import FreeFormFlow
from lightning_flows.nets import MLPDecoder, MLPEncoder
from lightning_flows.objectives import (
    ExactVolume,
    FreeFormVolume,
    NoVolume,
    PrincipalVolume,
    StochasticVolume,
    Volume,
)
from lightning_flows.plots.canvas import SMALL, figure, plain, save_png

__all__ = ["STRATEGIES", "main", "seconds"]

STRATEGIES: dict[str, tuple[Callable[[], Volume], str, str]] = {  # how to make it, color, marker
    "loop of JVPs": (LoopOfJvps, "#8d99a6", "s"),
    "exact": (ExactVolume, "#c8553d", "o"),
    "principal": (PrincipalVolume, "#e0a458", "v"),
    "stochastic, direct": (partial(StochasticVolume, direct=10_000), "#7b4b94", "D"),
    "stochastic, CG": (partial(StochasticVolume, direct=0), "#3a7d44", "^"),
    "free-form": (FreeFormVolume, "#2563ac", "o"),
    "no volume": (NoVolume, "#444444", "x"),
}
LATENTS, DATA = (4, 16, 64, 256), (16, 64, 256, 1024, 3072)
WIDE, NARROW = 512, 8  # D while d grows, and d while D grows


def seconds(latent: int, features: int, *, batch: int, rounds: int) -> dict[str, float]:
    """Seconds of a forward and backward pass, by strategy."""
    x = torch.randn(batch, features)
    watches: dict[str, Stopwatch] = {}
    for name, (make, _, _) in STRATEGIES.items():
        torch.manual_seed(0)
        flow = FreeFormFlow(
            features,
            latent_features=latent,
            encoder=partial(MLPEncoder, hidden=(128, 128)),
            decoder=partial(MLPDecoder, hidden=(128, 128)),
            prior=Normal,
        )

        def step(flow: FreeFormFlow = flow, volume: Volume = make()) -> None:  # noqa: B008
            embedded = volume(flow.project, flow.embed, x)
            loss = (x - embedded.x_hat).square().sum(1) + embedded.log_volume
            loss.mean().backward()

        watches[name] = stopwatch(step)
    timing = interleave(watches, rounds=rounds, warmup=1)
    return {name: min(times) for name, times in timing.seconds.items()}


def picture(
    by_latent: dict[int, dict[str, float]], by_data: dict[int, dict[str, float]], path: Path
) -> None:
    """Log-log lines of milliseconds over d and over D."""
    drawing = figure(8.2, 3.5, pad=0.06)
    panels = (
        (by_latent, f"latent dimension d  (D = {WIDE})"),
        (by_data, f"data dimension D  (d = {NARROW})"),
    )
    shared: Any = None
    for index, (found, label) in enumerate(panels):
        axes: Any = drawing.add_subplot(1, 2, index + 1, sharey=shared)
        shared = axes
        for name, (_, color, marker) in STRATEGIES.items():
            times = [1e3 * each[name] for each in found.values()]
            axes.plot(list(found), times, color=color, marker=marker, ms=4, lw=1.4, label=name)
        axes.set(xscale="log", yscale="log")
        axes.set_xticks(list(found), [str(value) for value in found])
        axes.minorticks_off()
        axes.grid(color="0.93", lw=0.7)
        axes.set_axisbelow(True)
        axes.set_xlabel(label, fontsize=SMALL)
        plain(axes)
        if index == 0:
            axes.set_ylabel("step, milliseconds of CPU", fontsize=SMALL)
    handles, labels = shared.get_legend_handles_labels()
    drawing.legend(
        handles, labels, loc="outside right center", fontsize=SMALL, frameon=False, labelspacing=0.9
    )
    save_png(drawing, path)


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the experiment."""
    parser = command_line(__doc__, "growth", figure=True, batch=16, rounds=3)
    parser.add_argument("--latents", type=int, nargs="+", default=LATENTS)
    parser.add_argument("--data", type=int, nargs="+", default=DATA)
    options = begin(parser, arguments)
    results = Results.begin(options, "growth", wide=WIDE, narrow=NARROW)
    effort = {"batch": options.batch, "rounds": options.rounds}
    seconds(2, 4, batch=2, rounds=1)  # whatever the first call of a strategy sets up
    by_latent = {d: seconds(d, WIDE, **effort) for d in options.latents}
    by_data = {n: seconds(NARROW, n, **effort) for n in options.data}
    for axis, found in (("d", by_latent), ("D", by_data)):
        for value, times in found.items():
            for name, time in times.items():
                results.add(options.out, volume=name, axis=axis, size=value, seconds=time)
    picture(by_latent, by_data, options.figure)


if __name__ == "__main__":
    main()
