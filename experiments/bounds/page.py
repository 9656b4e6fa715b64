"""How the results on losses beside the entropy read."""

from collections.abc import Sequence
from statistics import median

from experiments.common.pages import Figure, Page, grid
from experiments.common.results import Record, Results, chosen, finite

__all__ = ["page"]

BOUNDED = ("off-manifold", "variational")


def page(results: Results) -> Page:
    """The page."""
    facts, options, runs = results.facts, results.options, results.runs
    methods = list(dict.fromkeys(run["method"] for run in runs))
    factors = sorted({run["factor"] for run in runs})
    below = {name: _sum(chosen(runs, method=name), "below") for name in methods}
    looks = {name: _sum(chosen(runs, method=name), "looks") for name in methods}
    others = [name for name in methods if name not in BOUNDED]
    found = " and ".join(f"{below[name]} of {looks[name]} with {name}" for name in others)
    entropies = ", ".join(
        f"{name} {value['mean']:.3f} ± {value['error']:.3f}"
        for name, value in facts["entropy"].items()
    )
    long = [
        [name, data, f"{factor:g}", *_cells(chosen(runs, method=name, data=data, factor=factor))]
        for name in methods
        for data in facts["entropy"]
        for factor in factors
    ]
    bounded = [run for run in runs if run["method"] in BOUNDED]
    return Page(
        question="Does the loss fall below the entropy of the data while it trains?",
        answer=f"Of the {_sum(bounded, 'looks')} looks at the two bounded objectives "
        f"{_sum(bounded, 'below')} lie more than three standard errors below the entropy, and "
        f"{found}.",
        head=["least loss - entropy of a look, worst seed", *(f"{f:g}σ" for f in factors), "below"],
        rows=[
            [
                name,
                *(_worst(chosen(runs, method=name, factor=factor)) for factor in factors),
                f"{below[name]} of {looks[name]}",
            ]
            for name in methods
        ],
        notes=[
            f"Noise of standard deviation σ = {facts['sigma']:g} around a sine, a circle of radius "
            "2 and a sheet in five dimensions, whose entropies in nats are "
            f"{entropies} (by quadrature over 20,000 points). The scale of the loss is fixed at "
            "0.1σ, σ and 10σ: τ or σ of the bounded objectives, and β = 1/(2·scale²) of the joint "
            "ones, which get the constant (D - d)/2 log(β/π) too. "
            f"{options['seeds']} seeds, {options['steps']} steps of {facts['batch']} points with "
            f"Adam at {facts['rate']:g} and a cosine, the whole loss from the first step.",
            f"A look, every {facts['every']} steps, is the mean of loss + log p over "
            f"{facts['fresh']:,} points that are not trained on, which is at least 0 for a loss "
            "that is -log of a density or a bound of it. Below: by more than three standard "
            "errors of that mean. Joint, encoder at x: the free-form surrogate steers, and the "
            "loss that is looked at has the exact volume. Figures are the worst over the three "
            "data sets and all seeds.",
        ],
        figure=Figure("bounds.png", "Loss - entropy at each look, a line for each seed, nats."),
        details=[
            (
                "All figures",
                "Least loss - entropy of a run, in nats: median over seeds and the worst, and the "
                "worst in standard errors. Not finite: looks whose mean is not.\n\n"
                + grid(
                    ["loss", "data", "scale/σ", "median", "worst", "in errors", "below",
                     "not finite"],
                    long,
                ),
            )
        ],
    )  # fmt: skip


def _sum(runs: Sequence[Record], name: str) -> int:
    return sum(run[name] for run in runs)


def _worst(runs: Sequence[Record]) -> str:
    return f"{min(finite(runs, 'least')):.3g}"


def _cells(runs: Sequence[Record]) -> list[str]:
    least = finite(runs, "least")
    errors = min(finite(runs, "least_in_errors"))
    return [
        f"{median(least):.3g}",
        f"{min(least):.3g}",
        f"{errors:.3g}",
        f"{_sum(runs, 'below')} of {_sum(runs, 'looks')}",
        str(_sum(runs, "not_finite")),
    ]
