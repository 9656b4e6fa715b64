"""How the results on truncated latents read."""

from collections import Counter
from collections.abc import Sequence

from experiments.common.pages import Page, cell
from experiments.common.results import Record, Results, chosen

__all__ = ["page"]


def page(results: Results) -> Page:
    """The page."""
    facts, options, runs = results.facts, results.options, results.runs
    dimensions = facts["dimensions"]
    rows, right = [], {}
    for data, flow in dict.fromkeys((run["data"], run["flow"]) for run in runs):
        mine = chosen(runs, data=data, flow=flow)
        right[data, flow] = sum(run["dimension"] == dimensions[data] for run in mine)
        rows.append(
            [
                f"{data}, {flow}",
                str(dimensions[data]),
                _counts(mine, "dimension"),
                _counts(mine, "likeliest"),
                cell(mine, "local"),
            ]
        )
    found = ", ".join(f"{n} for {data} ({flow})" for (data, flow), n in right.items())
    return Page(
        question="Does the truncation curve find the dimension of the data?",
        answer=f"Of {options['seeds']} seeds it picks the dimension of the manifold, or the rank "
        f"of the table, in {found}.",
        head=["data and flow", "dimension", "picked (seeds)", "likeliest (seeds)", "local, mean"],
        rows=rows,
        notes=[
            "Latents are rotated and ordered by the entropy that they explain over training rows "
            "(`metrics.latent_order`), and kept from none to all on test rows "
            "(`metrics.truncation_curve`). Picked: up to the last latent that lowers the squared "
            f"error by more than {facts['threshold']:g} times the variance of the noise; one rule "
            "for all. Likeliest: where the curve of likelihood is highest. Local: the median "
            "number of directions that count around a point (`components`), averaged over seeds.",
            f"Sphere and torus: in R^{facts['space']} by a random orthogonal map, noise of "
            f"standard deviation {facts['noise']:g}, `VariationalModule` with 6 latents. No "
            "continuous map from the sphere or the torus to the plane has an inverse, so that a "
            "linear subspace of the latents of a continuous encoder needs three for either: the "
            "curve counts the latents that a flow needs, and no manifold's own dimension. Tables: "
            "the flows and noise of the experiment on ranks, as many latents as columns. "
            f"{options['steps']} steps of {facts['batch']} rows; each seed has another split.",
            "The first two seeds were run before the ten, and before those, on single seeds, other "
            "trainings on the surfaces; the rule and its constants are those of "
            "`metrics.SpannedDimension`, and were not changed.",
        ],
    )


def _counts(runs: Sequence[Record], name: str) -> str:
    counts = sorted(Counter(run[name] for run in runs).items())
    return ", ".join(f"{value} ({count})" for value, count in counts)
