"""How the results on the floor of the likelihood read."""

from experiments.common.pages import Page
from experiments.common.results import Results, chosen
from experiments.common.surfaces import NEITHER

__all__ = ["page"]


def page(results: Results) -> Page:
    """The page."""
    facts, options, runs = results.facts, results.options, results.runs
    double = 2 * facts["alpha"]
    stages = range(facts["stages"])
    rows, thin = [], {}
    for kind, seed in dict.fromkeys((run["regularizer"], run["seed"]) for run in runs):
        mine = [chosen(runs, regularizer=kind, seed=seed, stage=stage)[0] for stage in stages]
        thin.setdefault(kind, mine[-1]["thinnest"] / double)
        texts = [
            " → ".join(f"{run['nll']:.2f}" for run in mine),
            " → ".join(f"{run['thinnest']:.2g}" for run in mine),
            f"{mine[-1]['cosine']:.4f}",
        ]
        rows.append([kind, str(seed), *texts])
    others = [f"{value:.3g} with {kind}" for kind, value in thin.items() if kind != NEITHER]
    return Page(
        question="What keeps the likelihood of a manifold from growing without bound?",
        answer="Noise of variance 2α, or a Tikhonov term α: the thinnest direction ends at "
        f"{' and '.join(others)}, in units of 2α, and at {thin[NEITHER]:.2g} with neither.",
        head=["regularizer", "seed", "NLL, nats", "smallest 1/s²", "cosine"],
        rows=rows,
        notes=[
            "The flow of the [experiment on surfaces](surfaces.md) from scratch on an S-curve "
            f"without any noise on the points, {options['steps']:,} steps of {facts['batch']} in "
            f"{facts['stages']} stages, in each of which the learning rate falls to zero. NLL: of "
            "the test points; smallest 1/s²: median over the points, nothing subtracted; both "
            "after each stage. Cosine: median between last axis and normal, in the end. 2α is "
            f"{double:g}. Seed 0 stands in the first sentence.",
        ],
    )
