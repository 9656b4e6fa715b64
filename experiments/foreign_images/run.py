r"""Which scores of which models tell images from foreign ones: AUROC of small models, on a CPU.

    python -m benchmarks.out_of_distribution --data data --seeds 3 --steps 600 \
        --out docs/results.md --figure docs/images/out_of_distribution.png

`data` holds notMNIST/raw (see `NotMNIST`); the raw folders of MNIST and Fashion-MNIST are copied
from it, or downloaded where they are missing. Without --data, LIGHTNING_FLOWS_DATA names it.

All models see the same images with the same batch size and steps. Options were chosen by the
density of validation images of the training set, never by foreign images.
"""

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from statistics import mean
from typing import Any

from torch.optim import Adam
from torch.optim.lr_scheduler import CosineAnnealingLR, CosineAnnealingWarmRestarts

from benchmarks.experiment import begin, command_line
from benchmarks.foreign import (
    AMBIENT,
    BATCH,
    EPOCHS,
    ERROR,
    FOREIGN,
    MODULES,
    ON_MANIFOLD,
    STUMP,
    TEST,
    VALIDATION,
    Outcome,
    load,
    own_copy,
    run,
)
from benchmarks.intervals import spread, spread_name
from benchmarks.report import write_section
from lightning_flows.flows import FreeFormFlow, PaddedFlow, RealNVP
from lightning_flows.modules import (
    DensityModule,
    FlowModule,
    FreeFormModule,
    RectangularModule,
    TwoStepModule,
)
from lightning_flows.nets import ConvDecoder, ConvEncoder
from lightning_flows.objectives import StochasticVolume
from lightning_flows.plots.canvas import ACCENT, DATA, MODEL, figure, legend, plain, save_png, title

__all__ = ["METHODS", "main", "picture", "table"]

LATENTS, PIXELS = 20, 28 * 28
PAIRS = [(own, other) for own, others in FOREIGN.items() for other in others]
COLOURS = {ON_MANIFOLD: MODEL, AMBIENT: ACCENT, ERROR: DATA}

_PRIOR = partial(RealNVP, layers=6, hidden=(64, 64), activation="silu")
_CODER: dict[str, Any] = {"channels": (16, 32)}
_FREE = partial(
    FreeFormFlow,
    latent_features=LATENTS,
    encoder=partial(ConvEncoder, **_CODER),
    decoder=partial(ConvDecoder, **_CODER),
    prior=_PRIOR,
)
_PADDED = partial(
    PaddedFlow,
    latent_features=LATENTS,
    ambient=partial(RealNVP, layers=4, hidden=(192, 192), activation="silu"),
    prior=_PRIOR,
)
_ADAM: dict[str, Any] = {
    "optimizer": partial(Adam, lr=3e-3, fused=True),
    "scheduler": partial(CosineAnnealingLR, T_max=EPOCHS),
}
METHODS: dict[str, Callable[..., FlowModule]] = {
    "bijective": partial(DensityModule, partial(RealNVP, layers=6, hidden=(256, 256)), **_ADAM),
    "rectangular": partial(
        RectangularModule, _PADDED, volume=StochasticVolume(), beta=5, warmup=(2, 6), **_ADAM
    ),
    "free-form": partial(FreeFormModule, _FREE, beta=5, warmup=(2, 6), **_ADAM),
    "two-step": partial(
        TwoStepModule,
        _FREE,
        manifold_epochs=EPOCHS // 2,
        **_ADAM | {"scheduler": partial(CosineAnnealingWarmRestarts, T_0=EPOCHS // 2)},
    ),
}
"""What makes a model from the shape of its data."""

Outcomes = dict[tuple[str, str], list[Outcome]]
"""By training set and method, one for each seed."""


def table(outcomes: Outcomes, steps: int) -> str:
    """Markdown: areas, accuracies of the stump, and how well the models fit their own data."""
    seeds = max(map(len, outcomes.values()))
    lines = [
        "## Foreign images",
        "",
        f"Small models of MNIST and Fashion-MNIST, {steps} steps of {BATCH} images with Adam on "
        f"one thread, {spread_name(seeds)} over the runs that did not break. "
        f"{LATENTS} latents, but for the bijective flow; two-step trains the autoencoder for half "
        "of the steps and the prior for the other half. All densities count the contribution of "
        "the preprocessing (dequantization, logit, standardization). Each pixel is standardized by "
        "itself, so ink at a border that is black in all training images is very improbable to "
        "begin with, and easy pairs say little about the models. Of an injective model, "
        f"*{ON_MANIFOLD}* is that of the projection with respect to volume, *{AMBIENT}* that in "
        "the space of all pixels, with residuals scored as Gaussian of the variance that they have "
        f"on {VALIDATION} validation images, and *{ERROR}* the squared error in gray levels. "
        "Nothing was chosen by foreign images.",
        "",
        f"### AUROC, {TEST} test images of each set",
        "",
        "How probably a foreign image has the lower density or the higher error; 0.5 is a guess, "
        "below it foreign images look more familiar than the model's own.",
        "",
        *_by_pair(outcomes, "auroc"),
        "",
        "### Accuracy of the decision stump",
        "",
        f"One threshold, fitted on {STUMP} training images of both sets (the papers' measure, "
        "which knows foreign images), on the test images above; 0.5 is a guess.",
        "",
        *_by_pair(outcomes, "stump"),
        "",
        "### How well the models fit",
        "",
        "Means over validation images of the training set; only densities of pixels may be "
        "compared between methods. CPU time is that of training and scoring.",
        "",
        f"| training set | method | −log {AMBIENT}, nats | bits per dimension | squared error of a "
        "pixel | CPU seconds | NaN |",
        "|---|---|---:|---:|---:|---:|---:|",
    ]
    for (own, name), runs in outcomes.items():
        sound = [r for r in runs if r.sound]
        nats = [r.fit[AMBIENT] for r in sound]
        columns = [
            nats,
            [value / (PIXELS * math.log(2)) for value in nats],
            [r.fit[ERROR] / PIXELS for r in sound if ERROR in r.fit],
            [r.seconds for r in runs],
        ]
        cells = " | ".join(spread(values, digits=4) for values in columns)
        lines.append(f"| {own} | {name} | {cells} | {len(runs) - len(sound)} |")
    return "\n".join(lines) + "\n"


def _by_pair(outcomes: Outcomes, measure: str) -> Iterator[str]:
    """Lines of a table with a row for each method and score and a column for each pair of sets."""
    yield f"| method | score | {' | '.join(f'{own} → {other}' for own, other in PAIRS)} |"
    yield "|---|---|" + "---:|" * len(PAIRS)
    for name, kind in rows_of(outcomes):
        cells = (spread(_values(outcomes, measure, pair, name, kind), digits=3) for pair in PAIRS)
        yield f"| {name} | {kind} | {' | '.join(cells)} |"


def rows_of(outcomes: Outcomes) -> list[tuple[str, str]]:
    """Methods in order, each with the scores that it has."""
    found = {(name, kind) for (_, name), runs in outcomes.items() for r in runs for kind in r.fit}
    names = dict.fromkeys(name for _, name in outcomes)
    return [(name, kind) for name in names for kind in COLOURS if (name, kind) in found]


def _values(
    outcomes: Outcomes, measure: str, pair: tuple[str, str], name: str, kind: str
) -> list[float]:
    """One number for each run that did not break."""
    own, other = pair
    runs = outcomes.get((own, name), [])
    return [getattr(run, measure)[other, kind] for run in runs if run.sound]


def picture(outcomes: Outcomes, path: Path) -> None:
    """AUROC as dots, one for each seed: a panel for each pair, a line for each method and score."""
    rows = rows_of(outcomes)
    heights = _heights(rows)
    drawing = figure(7.5, max(2.2, 0.9 + 0.23 * len(rows)), pad=0.07)
    panels = drawing.subplots(1, len(PAIRS), sharey=True)
    for panel, pair in zip(panels, PAIRS, strict=True):
        panel.axvline(0.5, color="0.6", lw=0.8, ls=":")
        for (name, kind), height in zip(rows, heights, strict=True):
            values = _values(outcomes, "auroc", pair, name, kind)
            panel.plot([0, 1], [height, height], color="0.92", lw=0.8, zorder=0)
            style = {"color": COLOURS[kind], "ms": 5, "alpha": 0.75, "mew": 0, "clip_on": False}
            if values:  # no dots that are not clipped have no place that a layout could heed
                panel.plot(values, [height] * len(values), "o", **style)
        panel.set(xlim=(0, 1), ylim=(max(heights) + 0.7, -0.7))
        panel.set_xticks([0, 0.25, 0.5, 0.75, 1], ["0", "", "0.5", "", "1"])
        panel.set_xlabel("AUROC", fontsize=8)
        title(panel, " → ".join(pair))
        plain(panel)
        panel.spines["left"].set_visible(False)
        panel.tick_params(axis="y", length=0)
    names = list(dict.fromkeys(name for name, _ in rows))
    middles = [mean(h for (n, _), h in zip(rows, heights, strict=True) if n == m) for m in names]
    panels[0].set_yticks(middles, names)
    for kind in COLOURS:
        panels[0].plot([], [], "o", color=COLOURS[kind], ms=5, mew=0, label=kind)
    legend(drawing)
    save_png(drawing, path)


def _heights(rows: Sequence[tuple[str, str]]) -> list[float]:
    """Places of the lines from above, with room between methods."""
    names = list(dict.fromkeys(name for name, _ in rows))
    return [i + 0.7 * names.index(name) for i, (name, _) in enumerate(rows)]


def main(
    arguments: Sequence[str] | None = None,
    methods: Mapping[str, Callable[..., FlowModule]] = METHODS,
) -> None:
    """Run the experiment with these methods."""
    parser = command_line(__doc__, "data", "out", "figure", seeds=3, steps=600)
    options = begin(parser, arguments)
    outcomes: Outcomes = {}
    with own_copy(options.data) as folder:
        for seed in range(options.seeds):
            sets = {name: load(name, folder, seed) for name in MODULES}
            for own, others in FOREIGN.items():
                foreign = {other: sets[other] for other in others}
                for name, make in methods.items():
                    outcome = run(make, sets[own], foreign, seed=seed, steps=options.steps)
                    outcomes.setdefault((own, name), []).append(outcome)
                    text = table(outcomes, options.steps)
                    print(f"seed {seed}, {own}, {name}: {dict(outcome.auroc)}", flush=True)
                    write_section(options.out, "foreign images", text)
        print(text)
    if options.figure:
        picture(outcomes, options.figure)


if __name__ == "__main__":
    main()
