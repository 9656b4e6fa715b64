"""How the results on foreign images read."""

import math

from benchmarks.intervals import spread_name
from experiments.common.foreign import AMBIENT, ERROR, ON_MANIFOLD
from experiments.common.pages import Figure, Page, average, cell, grid
from experiments.common.results import Record, Results, chosen

__all__ = ["page"]

PAIRS = (("MNIST", "Fashion-MNIST"), ("MNIST", "notMNIST"), ("Fashion-MNIST", "MNIST"))
SCORES = (ON_MANIFOLD, AMBIENT, ERROR)
PIXELS = 28 * 28


def page(results: Results) -> Page:
    """The page."""
    facts, options, runs = results.facts, results.options, results.runs
    methods = list(dict.fromkeys(run["method"] for run in runs))
    heads = [f"{own} → {other}" for own, other in PAIRS]

    def values(measure: str, pair: tuple[str, str], method: str, score: str) -> list[Record]:
        own, other = pair
        mine = [run[measure].get(other, {}) for run in chosen(runs, own=own, method=method)]
        return [found for found in mine if score in found]

    def rows(measure: str) -> list[list[str]]:
        return [
            [method, score, *(cell(values(measure, pair, method, score), score) for pair in PAIRS)]
            for method in methods
            for score in SCORES
            if values(measure, PAIRS[0], method, score)
        ]

    def means(score: str) -> str:
        found = [
            average(values("auroc", PAIRS[-1], method, score), score)
            for method in methods
            if values("auroc", PAIRS[-1], method, score)
        ]
        return f"{min(found):.2f} to {max(found):.2f}"

    short = [[score, *(_range(values, pair, methods, score) for pair in PAIRS)] for score in SCORES]
    fits = []
    for own in ("MNIST", "Fashion-MNIST"):
        for method in methods:
            fitted = [run["fit"] for run in chosen(runs, own=own, method=method)]
            bits = average(fitted, AMBIENT) / (PIXELS * math.log(2))
            error = average(fitted, ERROR) / PIXELS
            texts = [cell(fitted, AMBIENT, 4), f"{bits:.4g}"]
            fits.append([own, method, *texts, "–" if math.isnan(error) else f"{error:.4g}"])
    return Page(
        question="Which scores of which models tell foreign images?",
        answer="Models of Fashion-MNIST tell MNIST from it with an AUROC of "
        f"{means(AMBIENT)} by the density of all pixels, {means(ON_MANIFOLD)} by the density on "
        f"the manifold, and {means(ERROR)} by the reconstruction error.",
        head=["AUROC: least to largest mean of a method", *heads],
        rows=short,
        notes=[
            f"{facts['test']} test images of each set; how probably a foreign image has the lower "
            "density or the higher error. 0.5 is a guess, below it foreign images look more "
            "familiar than the model's own.",
            f"Small models, {options['steps']} steps of {facts['batch']} images with Adam, "
            f"{spread_name(options['seeds'])}; the seed also draws the images that are validated "
            f"on and scored. {facts['latents']} latents, but for the bijective flow; two-step "
            "trains the autoencoder for half of the steps and the prior for the other half. All "
            "densities count the contribution of the preprocessing. Each pixel is standardized by "
            "itself, so ink at a border that is black in all training images is very improbable to "
            "begin with, and easy pairs say little about the models. Of an injective model, "
            f"*{ON_MANIFOLD}* is that of the projection with respect to volume, *{AMBIENT}* that "
            "in the space of all pixels, with residuals scored as Gaussian of the variance that "
            f"they have on {facts['validation']} validation images, and *{ERROR}* the squared "
            "error in gray levels. Nothing was chosen by foreign images.",
        ],
        figure=Figure("foreign_images.png", "AUROC of every method, score and pair; a dot a seed."),
        details=[
            ("AUROC of every method", grid(["method", "score", *heads], rows("auroc"))),
            (
                "Accuracy of the decision stump",
                "One threshold, fitted on training images of both sets (the papers' measure, which "
                "knows foreign images); 0.5 is a guess.\n\n"
                + grid(["method", "score", *heads], rows("stump")),
            ),
            (
                "How well the models fit",
                "Means over validation images of the training set; only densities of pixels may be "
                "compared between methods.\n\n"
                + grid(
                    [
                        "training set",
                        "method",
                        f"−log {AMBIENT}, nats",
                        "bits per dimension",
                        "squared error of a pixel",
                    ],
                    fits,
                ),
            ),
        ],
    )


def _range(values, pair, methods, score) -> str:
    found = [values("auroc", pair, method, score) for method in methods]
    means = [average(mine, score) for mine in found if mine]
    return f"{min(means):.3f} to {max(means):.3f}"
