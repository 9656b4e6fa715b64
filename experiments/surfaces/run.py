"""Components of flows trained on noisy surfaces in space: is the last axis the normal?

    python -m experiments.surfaces.run

Two directions should count, whether the flow is trained with a Tikhonov term of weight α or with
noise of variance 2α on the data. The noise comes first; the Tikhonov term then takes its place for
three eighths as many steps.
"""

import math
from collections.abc import Mapping, Sequence
from pathlib import Path

import torch

from experiments.common.command import begin, command_line
from experiments.common.normals import NORMALS
from experiments.common.results import Results
from experiments.common.surfaces import ALPHA, BATCH, NOISY, RATE, TIKHONOV, End, Stage, train
from lightning_flows.plots.canvas import DATA, SERIES, point_panels, save_png, title

__all__ = ["agreement", "main"]

NOISE = 0.01  # of the points of all surfaces, small beside √(2α)
LARGE = 1024  # batches of the stage with noise
REFINING = 3e-4  # learning rate of the stage with α
THRESHOLDS = (2.0, 5.0)  # multiples of 2α beyond which a direction counts; the second is default
SHARE = 3 / 8  # steps with α for every step with noise, which costs a third


def record(end: End) -> dict[str, object]:
    """The figures of one stage."""
    flat = [(end.dimensions(t) == 2).float().mean().item() for t in THRESHOLDS]
    return {"nll": end.nll, "cosine": end.cosine, "two": flat, "widths": end.widths}


def agreement(first: End, second: End) -> dict[str, float]:
    """|cos| between last axes, share of points with the same dimension, ratio of 1/s²."""
    cosines = (first.axes[:, -1] * second.axes[:, -1]).sum(1).abs()
    dimensions = [end.dimensions(THRESHOLDS[-1]) for end in (first, second)]
    same = (dimensions[0] == dimensions[1]).float().mean().item()
    ratio = (second.scales[:, -1] / first.scales[:, -1]).square()
    return {"cosine": cosines.median().item(), "same": same, "ratio": ratio.median().item()}


def picture(ends: Mapping[str, Sequence[End]], path: Path) -> None:
    """The surfaces, each with the last axes at some points and how well they are normals."""
    limit = torch.tensor([[-2.7, 2.7]] * 3).numpy()
    drawing, panels = point_panels(limit, len(NORMALS))
    for panel, name in zip(panels, NORMALS, strict=True):
        run = ends.get(name)
        if not run:
            continue
        x, axes = run[-1].points, run[-1].axes[:60, -1]
        panel.scatter(*x.T, s=4, c=DATA, linewidths=0, alpha=0.7, depthshade=False)
        for sign in (-1, 1):
            arrows = (sign * axes).T
            panel.quiver(
                *x[:60].T, *arrows, length=0.3, arrow_length_ratio=0, color=SERIES[0], lw=0.7
            )
        panel.set_box_aspect((1, 1, 1), zoom=1.55)
        panel.set_axis_off()
        title(panel, f"{name}: |cos| {run[-1].cosine:.4f}")
    save_png(drawing, path)


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the experiment."""
    parser = command_line(__doc__, "surfaces", figure=True, seeds=2, steps=10_000)
    parser.add_argument("--only", choices=NORMALS, nargs="+", default=list(NORMALS))
    options = begin(parser, arguments)
    facts = {"alpha": ALPHA, "noise": NOISE, "thresholds": THRESHOLDS, "rates": [RATE, REFINING]}
    refining = math.ceil(SHARE * options.steps)
    sizes = {"batches": [LARGE, BATCH], "refining": refining}
    results = Results.begin(options, "surfaces", **facts, **sizes)
    stages = [Stage(NOISY, options.steps, batch=LARGE), Stage(TIKHONOV, refining, REFINING)]
    first: dict[str, list[End]] = {}
    for seed in range(options.seeds):
        for name in options.only:
            ends = train(name, stages, seed, noise=NOISE)
            first.setdefault(name, ends)
            for end in ends:
                which = {"surface": name, "regularizer": end.kind, "seed": seed}
                results.add(options.out, **which, **record(end))
            if len(ends) == len(stages):
                which = {"surface": name, "regularizer": "α by noise", "seed": seed}
                results.add(options.out, **which, **agreement(*ends))
        picture(first, options.figure)


if __name__ == "__main__":
    main()
