"""Which scores of which models tell images from foreign ones: AUROC of small models, on a CPU.

    LIGHTNING_FLOWS_DATA=data python -m experiments.foreign_images.run

`data` holds notMNIST/raw (see `NotMNIST`); the raw folders of MNIST and Fashion-MNIST are copied
from it, or downloaded where they are missing.

All models see the same images with the same batch size and steps. Options were chosen by the
density of validation images of the training set, never by foreign images.
"""

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from statistics import mean
from typing import Any

from torch.optim import Adam
from torch.optim.lr_scheduler import CosineAnnealingLR, CosineAnnealingWarmRestarts

from experiments.common.command import begin, command_line
from experiments.common.foreign import (
    AMBIENT,
    BATCH,
    EPOCHS,
    ERROR,
    FOREIGN,
    MODULES,
    ON_MANIFOLD,
    TEST,
    VALIDATION,
    load,
    own_copy,
    run,
)
from experiments.common.results import Record, Results, chosen
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

__all__ = ["METHODS", "main", "picture", "rows_of"]

LATENTS = 20
PAIRS = [(own, other) for own, others in FOREIGN.items() for other in others]
COLORS = {ON_MANIFOLD: MODEL, AMBIENT: ACCENT, ERROR: DATA}

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
        RectangularModule,
        _PADDED,
        volume=StochasticVolume(),
        reconstruction=5,
        warmup=(2, 6),
        **_ADAM,
    ),
    "free-form": partial(FreeFormModule, _FREE, reconstruction=5, warmup=(2, 6), **_ADAM),
    "two-step": partial(
        TwoStepModule,
        _FREE,
        manifold_epochs=EPOCHS // 2,
        **_ADAM | {"scheduler": partial(CosineAnnealingWarmRestarts, T_0=EPOCHS // 2)},
    ),
}
"""What makes a model from the shape of its data."""


def rows_of(runs: Sequence[Record]) -> list[tuple[str, str]]:
    """Methods in order, each with the scores that it has."""
    found = {(run["method"], score) for run in runs for score in run["fit"]}
    names = dict.fromkeys(run["method"] for run in runs)
    return [(name, score) for name in names for score in COLORS if (name, score) in found]


def picture(runs: Sequence[Record], path: Path) -> None:
    """AUROC as dots, one for each seed: a panel for each pair, a line for each method and score."""
    rows = rows_of(runs)
    heights = _heights(rows)
    drawing = figure(7.5, max(2.2, 0.9 + 0.23 * len(rows)), pad=0.07)
    panels = drawing.subplots(1, len(PAIRS), sharey=True)
    for panel, pair in zip(panels, PAIRS, strict=True):
        panel.axvline(0.5, color="0.6", lw=0.8, ls=":")
        for (name, kind), height in zip(rows, heights, strict=True):
            own, other = pair
            mine = chosen(runs, own=own, method=name)
            values = [run["auroc"][other][kind] for run in mine if other in run["auroc"]]
            panel.plot([0, 1], [height, height], color="0.92", lw=0.8, zorder=0)
            style = {"color": COLORS[kind], "ms": 5, "alpha": 0.75, "mew": 0, "clip_on": False}
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
    for kind in COLORS:
        panels[0].plot([], [], "o", color=COLORS[kind], ms=5, mew=0, label=kind)
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
    parser = command_line(__doc__, "foreign_images", data=True, figure=True, seeds=2, steps=500)
    options = begin(parser, arguments)
    facts = {"latents": LATENTS, "batch": BATCH, "test": TEST, "validation": VALIDATION}
    results = Results.begin(options, "foreign_images", **facts)
    with own_copy(options.data) as folder:
        for seed in range(options.seeds):
            sets = {name: load(name, folder, seed) for name in MODULES}
            for own, others in FOREIGN.items():
                foreign = {other: sets[other] for other in others}
                for name, make in methods.items():
                    found = run(make, sets[own], foreign, seed=seed, steps=options.steps)
                    results.add(options.out, own=own, method=name, seed=seed, **found.record)
    picture(results.runs, options.figure)


if __name__ == "__main__":
    main()
