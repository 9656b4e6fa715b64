"""How the results on data with symmetries read."""

from benchmarks.intervals import explain, shown, spread_name
from experiments.common.pages import Page, average, cell, differ
from experiments.common.results import Results, chosen

__all__ = ["page"]


def page(results: Results) -> Page:
    """The page."""
    facts, options, runs = results.facts, results.options, results.runs
    names = list(dict.fromkeys(run["data"] for run in runs))
    rows, texts = [], []
    for name in names:
        plain, ours = (chosen(runs, data=name, flow=kind) for kind in ("bijective", "surjective"))
        old = chosen(runs, data=name, flow="difference")
        text = cell(old, "log_prob") if old else shown(differ(ours, plain, "log_prob"), len(names))
        texts.append(f"{text} on {name} ({ours[0]['taken_out']} taken out)")
        cells = [cell(mine, "log_prob", 4) for mine in (plain, ours)]
        size = f"{facts['sizes'][name][0]:,}"
        rows.append(
            [name, ours[0]["taken_out"], size, *cells, text, f"{average(ours, 'best'):.4g}"]
        )
    return Page(
        question="What is gained by taking a symmetry out?",
        answer=f"In nats, the test log-likelihood changes by {', '.join(texts)}.",
        head=[
            "data",
            "taken out",
            "parameters",
            "bijective",
            "surjective",
            "difference",
            "of the data",
        ],
        rows=rows,
        notes=[
            "Surjective minus bijective, seed by seed; higher is better. "
            + explain(len(names), "seeds and their points" if results.rerun else "seeds"),
            f"Test log-likelihood in nats, {spread_name(options['seeds'])}. Neural spline flows of "
            "the same size, with and without surjections before them: absolute values or sorting, "
            f"both exact. {facts['rows']['n_train']:,} training and {facts['rows']['n_test']:,} "
            f"test points, {options['steps']} steps of 256, Adam at {facts['rate']:g} and a "
            "cosine. The last column is the mean log-density that the data itself has at these "
            "points.",
        ],
        keys=["data", "flow"],
        measures=["log_prob"],
    )
