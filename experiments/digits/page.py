"""How the results on components of digits read."""

from collections.abc import Sequence
from statistics import mean
from typing import Any

from benchmarks.intervals import spread
from experiments.common.pages import Figure, Page, grid
from experiments.common.results import Results

__all__ = ["page"]

MEASURES = {
    "participation": "participation ratio",
    "dimension": "dimension",
    "width": "width, gray levels",
    "deformation": "deformation",
    "another": "of another image",
    "narrowest": "narrowest axes",
}


def page(results: Results) -> Page:
    """The page."""
    facts, options, runs = results.facts, results.options, results.runs
    k, checked, ratio = facts["components"], facts["checked"], facts["ratio"]
    means = {name: [_mean(run[name]) for run in runs] for name in MEASURES}
    widest, others = mean(means["deformation"]), mean(means["another"])
    return Page(
        question="What are the components of handwritten digits?",
        answer="Of the simplest deformations of the decoded image, seven span "
        f"{min(means['deformation']):.2f} to {max(means['deformation']):.2f} of the squared length "
        f"of the {k} widest, in the mean over each class; that is {widest / others:.2g} times the "
        f"share of another image's axes, and {widest / mean(means['narrowest']):.2g} times that of "
        "the narrowest axes.",
        head=["over the classes", "least", "mean", "largest"],
        rows=[
            [label, *(f"{value:.3g}" for value in (min(found), mean(found), max(found)))]
            for (_, label), found in zip(MEASURES.items(), means.values(), strict=True)
        ],
        notes=[
            f"A free-form injective flow of {facts['latents']} latents "
            f"(`configs/mnist/components.yaml`, one seed), {options['points']} test images of each "
            "digit, components in gray levels. Participation ratio (Σλ)²/Σλ²; dimension: "
            f"directions with λ above {facts['relative']:.0%} of the largest; width: √Σλ. "
            f"Deformation: squared length of the {k} widest axes within the span of seven "
            "deformations of the decoded image (shifts, size, rotation, two stretches, thickness "
            "of strokes), as a share of the whole; beside it the same of the axes of another image "
            "of the class, and of the narrowest axes. By chance it would be 7/784.",
            f"The {k} widest without the Jacobian, beside a float64 SVD of the whole one: "
            f"{checked['converged']} of {checked['points']} points converged; there the largest "
            f"principal angle is {checked['degrees']:.2g}° and the largest relative error of a "
            f"scale {checked['error']:.2g}. Time, beside Jacobian and SVD: {ratio['median']:.2g} "
            f"({ratio['low']:.2g} to {ratio['high']:.2g}); with so few latents the whole Jacobian "
            "is what one should use.",
        ],
        figure=Figure(
            "digits.png",
            "For each digit: the test image, the decoded one, then one standard deviation back, "
            "the axis, and one ahead, for the widest components.",
        ),
        details=[
            (
                "By digit",
                grid(
                    ["digit", *MEASURES.values()],
                    [[str(run["digit"]), *(_cell(run[name]) for name in MEASURES)] for run in runs],
                ),
            )
        ],
    )


def _mean(found: Any) -> float:
    return float(found["mean"]) if isinstance(found, dict) else mean(found)


def _cell(found: dict[str, float] | Sequence[float]) -> str:
    if isinstance(found, dict):
        return f"{found['mean']:.3g} ± {found['error']:.2g}"
    return spread(found)
