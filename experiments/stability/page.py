"""How the results on the stability of volume terms read."""

from collections.abc import Sequence
from statistics import median

from experiments.common.pages import Figure, Page, grid
from experiments.common.results import Record, Results, chosen, finite

__all__ = ["page"]

EXACT, DECODED, DETACHED, ENCODER = (
    "exact, through the decoder",
    "encoder at x̂",
    "encoder at x̂, detached",
    "encoder at x",
)


def page(results: Results) -> Page:
    """The page."""
    facts, options, runs = results.facts, results.options, results.runs
    names = list(dict.fromkeys(run["volume"] for run in runs))
    betas = sorted({run["beta"] for run in runs})
    low, middle, high = betas
    long = [
        [name, f"{beta:g}", *_figures(chosen(runs, volume=name, beta=beta))]
        for name in names
        for beta in betas
    ]
    short = [
        [name, *(_worst_text(chosen(runs, volume=name, beta=beta)) for beta in betas)]
        for name in names
    ]

    def worst(name: str, beta: float) -> str:
        return _worst_text(chosen(runs, volume=name, beta=beta))

    above = max(_worst(chosen(runs, volume=name, beta=high)) for name in names)
    threshold = 1 / (2 * facts["sigma"] ** 2)
    return Page(
        question="Which volume term keeps joint training stable?",
        answer=f"Above the threshold β = 1/(2σ²) = {threshold:.2g} no curvature of any term is "
        f"above {above:.3g}; at β = {middle:g} the worst curvature is {worst(ENCODER, middle)} "
        f"with the encoder's Jacobian at x, {worst(DETACHED, middle)} at a detached x̂, "
        f"{worst(DECODED, middle)} where the gradient goes through x̂, and "
        f"{worst(EXACT, middle)} with the exact volume.",
        head=["worst curvature of a seed", *(f"β = {beta:g}" for beta in betas)],
        rows=short,
        notes=[
            f"x = (t, sin 1.7t) + noise of standard deviation σ = {facts['sigma']:g}, t standard "
            "normal; one latent with a standard normal prior, residual networks, "
            f"{options['steps']} steps of 256 points with Adam at {facts['rate']:g} and a cosine, "
            "gradients clipped, the whole loss from the first step; "
            f"{options['seeds']} seeds. The sine itself has a curvature of up to 2.9. Tikhonov: "
            f"weight {facts['tikhonov']:g} on the encoder's Jacobian.",
            "Below the threshold likelihood can be gained by bending the curve until projected "
            "data concentrate. The exact volume of free networks then has no floor: the curve "
            f"shrinks to a point at β = {low:g} (a point has no curvature) or bends without bound "
            f"at β = {middle:g}. Two things help: a gradient that goes to the encoder only, and "
            "its Jacobian at x in place of x̂.",
        ],
        figure=Figure("stability.png", "Learned curves of the first seed over the data."),
        details=[
            (
                "All figures",
                "NLL is the exact one of the decoded curve, in nats, on 4096 test points. Medians "
                "over the seeds that stayed finite; NaN counts the others.\n\n"
                + grid(
                    [
                        "volume term",
                        "β",
                        "NLL on the curve",
                        "squared error",
                        "curvature",
                        "worst",
                        "NaN",
                    ],
                    long,
                ),
            )
        ],
    )


def _figures(runs: Sequence[Record]) -> list[str]:
    medians = [_median(runs, name) for name in ("nll", "error", "curvature")]
    broken = runs[0].get("broken", sum(run["nll"] is None for run in runs))
    return [*(f"{value:.3g}" for value in medians), _worst_text(runs), str(broken)]


def _median(runs: Sequence[Record], name: str) -> float:
    if isinstance(runs[0][name], dict):
        return float(runs[0][name]["median"])
    values = finite(runs, name)
    return median(values) if values else float("nan")


def _worst(runs: Sequence[Record]) -> float:
    if isinstance(runs[0]["curvature"], dict):
        return float(runs[0]["curvature"]["worst"])
    return max(finite(runs, "curvature"), default=float("nan"))


def _worst_text(runs: Sequence[Record]) -> str:
    return f"{_worst(runs):.3g}"
