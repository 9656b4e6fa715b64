"""How the results on starts that are chosen against the objectives read."""

from statistics import median

from experiments.common.pages import Page
from experiments.common.results import Results, chosen, finite

__all__ = ["page"]

NEAR = 0.1  # nats above a normal start of the same seed
NORMAL = "normal"


def page(results: Results) -> Page:
    """The page."""
    facts, options, runs = results.facts, results.options, results.runs
    methods = list(dict.fromkeys(run["method"] for run in runs))
    starts = list(dict.fromkeys(run["start"] for run in runs))
    rows, tried, near, broken = [], 0, 0, 0
    for method in methods:
        normal = {run["seed"]: run["excess"] for run in chosen(runs, method=method, start=NORMAL)}
        for start in starts:
            mine = chosen(runs, method=method, start=start)
            excess = finite(mine, "excess")
            nan = len(mine) - len(excess)
            gaps = [
                run["excess"] - normal[run["seed"]] for run in mine if run["excess"] is not None
            ]
            within = sum(gap <= NEAR for gap in gaps)
            label = f"{method}, {start}"
            cells = [f"{median(excess):.3g}", f"{max(excess):.3g}", f"{max(gaps):+.3g}"]
            if start != NORMAL:
                tried, near, broken = tried + len(mine), near + within, broken + nan
                rows.append([label, *cells, f"{within} of {len(mine)}", str(nan)])
    normals = ", ".join(
        f"{median(finite(chosen(runs, method=method, start=NORMAL), 'excess')):.3g} ({method})"
        for method in methods
    )
    return Page(
        question="Do bounded objectives recover from bad starts?",
        answer=f"{near} of {tried} runs from starts that are chosen against the objective end "
        f"within {NEAR:g} nats of a normal start of the same seed, and {broken} with parameters "
        "that are not finite.",
        head=["objective and start", "median", "worst", "worst gap", f"within {NEAR:g}", "NaN"],
        rows=rows,
        notes=[
            "Figures are loss - entropy in nats of "
            f"{facts['fresh']:,} points that are not trained on, over {options['seeds']} seeds; "
            f"gap: to the normal start of the same seed. Normal starts have medians of {normals}.",
            f"A sine with noise of standard deviation {facts['sigma']:g}; scales are learned from "
            f"1 with a floor of 0.05; {options['steps']} steps of {facts['batch']} points, Adam "
            f"at {facts['rate']:g} and a cosine, gradients clipped at a norm of 100. Curvature: "
            "random weights of the decoder, or the bijection, until the curve bends by 1000 at one "
            "of 1000 points. Collapsed: decoded points within a thousandth of each other. "
            "Latents of size 50: of that standard deviation at the start. At a learning rate of "
            "0.001 and as many steps, seed 0 of the collapsed start of the off-manifold objective "
            "ended 0.15 nats above the normal one (a pilot with six layers).",
        ],
    )
