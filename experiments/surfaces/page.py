"""How the results on components of surfaces read."""

from collections.abc import Sequence
from statistics import mean
from typing import Any

from benchmarks.intervals import spread_name
from experiments.common.pages import Figure, Page, cell, grid
from experiments.common.results import Results, chosen
from experiments.common.surfaces import NOISY, TIKHONOV

__all__ = ["page"]


def page(results: Results) -> Page:
    """The page."""
    facts, options, runs = results.facts, results.options, results.runs
    names = list(dict.fromkeys(run["surface"] for run in runs))
    rows, cosines, shares = [], [], []
    for name in names:
        for kind in (NOISY, TIKHONOV):
            mine = chosen(runs, surface=name, regularizer=kind)
            cosine = _worst([run["cosine"] for run in mine])
            two = [_worst([run["two"][place] for run in mine]) for place in (0, 1)]
            columns = zip(*(run["widths"] for run in mine), strict=True)
            widths = ", ".join(f"{mean(column):.2g}" for column in columns)
            cosines.append(cosine[1])
            shares.append(two[1][1])
            texts = [f"{middle:.1%} ({least:.1%})" for middle, least in two]
            rows.append([name, kind, f"{cosine[0]:.4f} ({cosine[1]:.4f})", *texts, widths])
    both = [
        [name, *(cell(chosen(runs, surface=name, regularizer="α by noise"), m) for m in MEASURES)]
        for name in names
    ]
    first, second = facts["thresholds"]
    return Page(
        question="Is the last component of a flow the normal of the surface?",
        answer=f"In every run the median |cos| between the two is at least {min(cosines):.3f}, and "
        f"two directions count at {min(shares):.1%} of the points or more.",
        head=[
            "surface",
            "regularizer",
            "cosine",
            f"two dimensions: beyond {first:g}",
            f"beyond {second:g}",
            "1/s² along the axes",
        ],
        rows=rows,
        notes=[
            "Cosine: median of the absolute value over 1000 test points, between last axis and "
            "true normal. Two dimensions: share of the points where two directions exceed a "
            f"multiple of 2α, {second:g} unless one says otherwise. 1/s²: medians, nothing "
            "subtracted. Means over seeds, and the worst seed in brackets; "
            f"{spread_name(options['seeds']).partition(',')[0]}.",
            "A RealNVP (16 affine couplings, LU maps between them), "
            f"{options['steps']:,} steps of {facts['batches'][0]} points with Adam at "
            f"{facts['rates'][0]:g} and a cosine, and noise of variance σ² = 2α = "
            f"{2 * facts['alpha']:g} on the batches, then {facts['refining']:,} steps of "
            f"{facts['batches'][1]} from {facts['rates'][1]:g}, with the Tikhonov term α = "
            f"{facts['alpha']:g} in its place; the points themselves have noise of standard "
            f"deviation {facts['noise']:g}, a variance of {facts['noise'] ** 2:.0e}, which is what "
            "1/s² less 2α should be along the normal.",
            "α and noise are proved to be the same for linear flows only. Others are seen by α at "
            "the points alone, and are free beside them, where noise looks as well. The flow is "
            "one of smooth couplings, on purpose: autoregressive spline flows cut surfaces and "
            "place the pieces beside each other in the normal's latent. Flow, batch sizes, "
            "learning rates and threshold were chosen by looking at these surfaces.",
        ],
        figure=Figure("surfaces.png", "Surfaces with the last axis at some points."),
        details=[
            (
                "The two regularizers beside each other",
                "At the same points: median |cos| between their last axes, share of the points "
                "where both report the same dimension, median ratio of 1/s² along the last "
                "axis.\n\n" + grid(["surface", *MEASURES.values()], both),
            )
        ],
    )


MEASURES = {"cosine": "cosine", "same": "same dimension", "ratio": "1/s², α by noise"}


def _worst(found: Sequence[Any]) -> tuple[float, float]:
    """Mean and least over seeds."""
    if isinstance(found[0], dict):
        return found[0]["mean"], found[0]["worst"]
    return mean(found), min(found)
