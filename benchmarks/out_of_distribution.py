r"""Which scores of which models tell images from foreign ones: AUROC of small models, on a CPU.

    python -m benchmarks.out_of_distribution --data data --seeds 3 --steps 600 \
        --out docs/results.md --figure docs/images/out_of_distribution.png

`data` holds notMNIST/raw (see `NotMNIST`); the raw folders of MNIST and Fashion-MNIST are copied
from it, or downloaded where they are missing. Without --data, LIGHTNING_FLOWS_DATA names it.

All models see the same images with the same batch size and steps. Options were chosen by the
density of validation images of the training set, never by foreign images.
"""

import argparse
import itertools
import logging
import math
import os
import shutil
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from statistics import mean
from tempfile import TemporaryDirectory
from typing import Any

import lightning.pytorch as L
import torch
from lightning_flows.datamodules import MNIST, FashionMNIST, ImageDataModule, NotMNIST
from torch import Tensor
from torch.optim import Adam
from torch.optim.lr_scheduler import CosineAnnealingLR, CosineAnnealingWarmRestarts

from benchmarks.report import write_section
from benchmarks.training import mean_and_error
from lightning_flows.families import (
    DensityFlow,
    FlowModule,
    FreeFormInjectiveFlow,
    InjectiveModule,
    RectangularFlow,
    TwoStepFlow,
)
from lightning_flows.flows import FreeFormFlow, PaddedFlow, RealNVP
from lightning_flows.jacobians import StochasticVolume
from lightning_flows.metrics import auroc, stump_accuracy
from lightning_flows.nets import ConvDecoder, ConvEncoder
from lightning_flows.plots.canvas import ACCENT, DATA, MODEL, figure, legend, plain, save_png, title
from lightning_flows.shapes import size, sum_event

__all__ = ["METHODS", "Outcome", "main", "run", "score", "table", "train"]

BATCH, ALPHA, LATENTS, EPOCHS, CHUNK = 128, 1e-6, 20, 20, 100
PIXELS = 28 * 28
TEST, STUMP, VALIDATION = 1000, 500, 500  # images of each set that are scored
MODULES: dict[str, type[ImageDataModule]] = {
    "MNIST": MNIST,
    "Fashion-MNIST": FashionMNIST,
    "notMNIST": NotMNIST,
}
FOREIGN = {"MNIST": ("Fashion-MNIST", "notMNIST"), "Fashion-MNIST": ("MNIST",)}
PAIRS = [(own, other) for own, others in FOREIGN.items() for other in others]

ON_MANIFOLD, AMBIENT, ERROR = "density on manifold", "density of pixels", "reconstruction"
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
    "bijective": partial(DensityFlow, partial(RealNVP, layers=6, hidden=(256, 256)), **_ADAM),
    "rectangular": partial(
        RectangularFlow, _PADDED, volume=StochasticVolume(), beta=5, warmup=(2, 6), **_ADAM
    ),
    "free-form": partial(FreeFormInjectiveFlow, _FREE, beta=5, warmup=(2, 6), **_ADAM),
    "two-step": partial(
        TwoStepFlow,
        _FREE,
        manifold_epochs=EPOCHS // 2,
        **_ADAM | {"scheduler": partial(CosineAnnealingWarmRestarts, T_0=EPOCHS // 2)},
    ),
}
"""What makes a model from the shape of its data."""

Outcomes = dict[tuple[str, str], list["Outcome"]]
"""By training set and method, one for each seed."""


@dataclass(frozen=True)
class Outcome:
    """What one trained model was worth.

    Args:
        auroc: by foreign set and score; empty where training broke.
        stump: accuracy of the decision stump, likewise.
        fit: means over validation images of the training set, by name of the score.
        seconds: CPU time of training and scoring.
    """

    auroc: Mapping[tuple[str, str], float]
    stump: Mapping[tuple[str, str], float]
    fit: Mapping[str, float]
    seconds: float

    @property
    def sound(self) -> bool:
        """Whether training came to an end with finite numbers."""
        return all(map(math.isfinite, self.fit.values()))


def load(name: str, folder: str, seed: int) -> ImageDataModule:
    """A data module that is ready for use."""
    module: Any = MODULES[name]
    data: ImageDataModule = module(folder, alpha=ALPHA, batch_size=BATCH, seed=seed)
    data.prepare_data()
    data.setup()
    return data


def images(data: ImageDataModule, split: str, n: int, seed: int) -> Tensor:
    """At most n images of a split, drawn at random: (n, 1, 28, 28)."""
    x: Tensor = getattr(data, f"{split}_dataloader")().dataset.tensors[0]
    return x[torch.randperm(len(x), generator=torch.Generator().manual_seed(seed))[:n]]


def train(
    make: Callable[..., FlowModule], data: ImageDataModule, seed: int, steps: int
) -> FlowModule:
    """Train a model for this many steps, in epochs of equal length."""
    torch.manual_seed(seed)
    model = make(data.event_shape)
    trainer = L.Trainer(
        accelerator="cpu",
        max_epochs=EPOCHS,
        limit_train_batches=max(1, steps // EPOCHS),
        limit_val_batches=0,
        gradient_clip_val=100,
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
    )
    trainer.fit(model, datamodule=data)
    return model.eval()


def fitted_beta(model: InjectiveModule, x: Tensor) -> float:
    """The weight β that Gaussian residuals of these images have, at maximum likelihood."""
    with torch.no_grad():
        y, _ = model.to_model_space(x)
        residual = sum_event((y - model.flow.embed(model.flow.project(y))).square()).mean()
    return (size(model.event_shape) - size(model.latent_shape)) / (2 * residual.item())


@torch.no_grad()
def score(model: FlowModule, x: Tensor, *, beta: float | None = None) -> dict[str, Tensor]:
    """How foreign images look to a model: by score (n,), high for foreign ones.

    Densities are negative log-densities in nats with the contribution of the preprocessing, of
    pixels or of volume of the manifold in the space of pixels. The reconstruction error is squared
    and in grey levels. NaN count as most foreign.

    Args:
        model: trained.
        x: integers, (n, 1, 28, 28).
        beta: weight of residuals in the density of pixels of an injective model.
    """
    parts: list[dict[str, Tensor]] = []
    for piece in x.split(CHUNK):
        density = -model.log_prob(piece)
        if not isinstance(model, InjectiveModule):
            parts.append({AMBIENT: density})
            continue
        y, contribution = model.to_model_space(piece)
        ambient = model.flow.ambient_log_prob(y, beta=model.beta if beta is None else beta)
        error = sum_event((piece - model.reconstruct(piece)).square())
        parts.append({ON_MANIFOLD: density, AMBIENT: -ambient - contribution, ERROR: error})
    joined = {name: torch.cat([part[name] for part in parts]) for name in parts[0]}
    return {name: torch.where(s.isnan(), torch.inf, s) for name, s in joined.items()}


def run(
    make: Callable[..., FlowModule],
    own: ImageDataModule,
    foreign: Mapping[str, ImageDataModule],
    *,
    seed: int,
    steps: int,
) -> Outcome:
    """Train a model on a data set, and see how it tells foreign ones."""
    start = time.process_time()
    model = train(make, own, seed, steps)
    fit = {AMBIENT: math.nan}
    beta = None
    if all(parameter.isfinite().all() for parameter in model.parameters()):
        validation = images(own, "val", VALIDATION, seed)
        if isinstance(model, InjectiveModule):
            beta = fitted_beta(model, validation)
        fit = {kind: float(s.mean()) for kind, s in score(model, validation, beta=beta).items()}
    areas, accuracies = {}, {}
    if all(map(math.isfinite, fit.values())):
        sizes = {"train": STUMP, "test": TEST}
        scores = {
            (side, split): score(model, images(data, split, n, seed), beta=beta)
            for side, data in {"own": own, **foreign}.items()
            for split, n in sizes.items()
        }
        for other, kind in itertools.product(foreign, fit):
            four = [scores[side, split][kind] for split in sizes for side in ("own", other)]
            areas[other, kind] = float(auroc(*four[2:]))
            accuracies[other, kind] = float(stump_accuracy(*four))
    return Outcome(areas, accuracies, fit, time.process_time() - start)


def table(outcomes: Outcomes, steps: int) -> str:
    """Markdown: areas, accuracies of the stump, and how well the models fit their own data."""
    seeds = max(map(len, outcomes.values()))
    lines = [
        "## Foreign images",
        "",
        f"Small models of MNIST and Fashion-MNIST, {steps} steps of {BATCH} images with Adam on "
        f"one thread, {seeds} seeds, mean ± standard error over the runs that did not break. "
        f"{LATENTS} latents, but for the bijective flow; two-step trains the autoencoder for half "
        "of the steps and the prior for the other half. All densities count the contribution of "
        "the preprocessing (dequantisation, logit, standardisation). Each pixel is standardised by "
        "itself, so ink at a border that is black in all training images is very improbable to "
        "begin with, and easy pairs say little about the models. Of an injective model, "
        f"*{ON_MANIFOLD}* is that of the projection with respect to volume, *{AMBIENT}* that in "
        "the space of all pixels, with residuals scored as Gaussian of the variance that they have "
        f"on {VALIDATION} validation images, and *{ERROR}* the squared error in grey levels. "
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
        cells = " | ".join(mean_and_error(values, digits=4) for values in columns)
        lines.append(f"| {own} | {name} | {cells} | {len(runs) - len(sound)} |")
    return "\n".join(lines) + "\n"


def _by_pair(outcomes: Outcomes, measure: str) -> Iterator[str]:
    """Lines of a table with a row for each method and score and a column for each pair of sets."""
    yield f"| method | score | {' | '.join(f'{own} → {other}' for own, other in PAIRS)} |"
    yield "|---|---|" + "---:|" * len(PAIRS)
    for name, kind in rows_of(outcomes):
        cells = (
            mean_and_error(_values(outcomes, measure, pair, name, kind), digits=3) for pair in PAIRS
        )
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


def copy_images(source: Path, folder: Path) -> None:
    """Copy the raw files to where torchvision may unpack them."""
    for name in ("MNIST", "FashionMNIST", "notMNIST"):
        if (source / name / "raw").is_dir():
            (folder / name / "raw").mkdir(parents=True)
            for file in (source / name / "raw").iterdir():
                shutil.copyfile(file, folder / name / "raw" / file.name)


def main(
    arguments: Sequence[str] | None = None,
    methods: Mapping[str, Callable[..., FlowModule]] = METHODS,
) -> None:
    """Run the experiment with these methods."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, default=os.environ.get("LIGHTNING_FLOWS_DATA", "data"))
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--steps", type=int, default=600)
    parser.add_argument("--out", type=Path)
    parser.add_argument("--figure", type=Path)
    options = parser.parse_args(arguments)
    torch.set_num_threads(1)
    logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)
    outcomes: Outcomes = {}
    with TemporaryDirectory() as folder:
        copy_images(options.data, Path(folder))
        for seed in range(options.seeds):
            sets = {name: load(name, folder, seed) for name in MODULES}
            for own, others in FOREIGN.items():
                foreign = {other: sets[other] for other in others}
                for name, make in methods.items():
                    outcome = run(make, sets[own], foreign, seed=seed, steps=options.steps)
                    outcomes.setdefault((own, name), []).append(outcome)
                    text = table(outcomes, options.steps)
                    print(f"seed {seed}, {own}, {name}: {dict(outcome.auroc)}", flush=True)
                    if options.out:
                        write_section(options.out, "foreign images", text)
        print(text)
    if options.figure:
        picture(outcomes, options.figure)


if __name__ == "__main__":
    main()
