"""How the results on reducing flows read."""

from benchmarks.intervals import explain, interval, shown, spread_name
from experiments.common.pages import Page, cell, differ
from experiments.common.results import Results, chosen
from experiments.reduction.run import BIJECTIVE, REDUCING

__all__ = ["page"]


def page(results: Results) -> Page:
    """The page."""
    facts, options, runs = results.facts, results.options, results.runs
    names = list(dict.fromkeys(run["data"] for run in runs))
    gaps = {}
    for name in names:
        both = [chosen(runs, data=name, method=method) for method in (REDUCING, BIJECTIVE)]
        gaps[name] = differ(*both, "nats")
    looks = len(names)
    ends = [interval(gap, looks) for gap in gaps.values()]
    above, below = sum(low > 0 for low, _ in ends), sum(high < 0 for _, high in ends)
    texts = [f"{shown(gap, looks)} on {name}" for name, gap in gaps.items()]
    rows = []
    for name, gap in gaps.items():
        cells = [
            cell(chosen(runs, data=name, method=method), "nats", 4)
            for method in (BIJECTIVE, REDUCING)
        ]
        steps = options.get("steps") or facts["steps"][name]
        rows.append([name, str(steps), *cells, shown(gap, looks)])
    hidden = "x".join(map(str, facts["hidden"]))
    return Page(
        question="What does it cost to lose half of the dimensions?",
        answer=f"Test log-likelihood changes by {', '.join(texts)} nats; {above} of {looks} "
        f"intervals lie above zero and {below} below.",
        head=["data", "steps", BIJECTIVE, REDUCING, "difference"],
        rows=rows,
        notes=[
            "Reducing minus bijective, seed by seed; above zero the flow with half of the latents "
            f"has the higher likelihood. {explain(looks, 'seeds and splits')}",
            f"Mean test log-likelihood in nats, {spread_name(options['seeds'])}; each seed has "
            "another split (the test rows of MINIBOONE are the published ones). "
            f"{facts['layers']} layers, splines of {facts['bins']} bins, conditioners {hidden}, LU "
            f"maps between layers; 256 rows a step, Adam at {facts['rate']:g} and a cosine; the "
            "epoch that did best on validation rows. Rows of tables are in units of the training "
            "rows; digits are gray levels from 0 to 16, dequantized anew in every step.",
        ],
        keys=["data", "method"],
        measures=["nats"],
    )
