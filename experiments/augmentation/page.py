"""How the results on added noise read."""

from benchmarks.intervals import explain, shown, spread, spread_name
from experiments.common.pages import Page, average, cell, differ
from experiments.common.results import Results, chosen

__all__ = ["page"]


def page(results: Results) -> Page:
    """The page."""
    facts, options, runs = results.facts, results.options, results.runs
    names, rows, texts = list(facts["sizes"]), [], []
    for name in names:
        plain, ours = (
            chosen(runs, couplings=name, flow=kind) for kind in ("bijective", "surjective")
        )
        old = chosen(runs, couplings=name, flow="difference")
        if old:
            text, gap = cell(old, "log_prob"), cell(old, "gap", 2)
        else:
            text = shown(differ(ours, plain, "log_prob"), len(names))
            gap = spread([r["log_prob"] - r["iwbo"] for r in ours if r.get("iwbo")], digits=2)
        texts.append(f"{text} nats beside {name} couplings")
        first, second = facts["sizes"][name]
        bounds = [cell(ours, bound, 4) for bound in ("elbo", "iwbo", "log_prob")]
        size = f"{first:,}, {second:,}"
        rows.append([name, size, cell(plain, "log_prob", 4), *bounds, gap, text])
    one, two = facts["cells"]
    steps = ", ".join(
        f"{times * options['steps']} for {name}" for name, times in facts["longer"].items()
    )
    return Page(
        question="What is gained by adding dimensions of noise?",
        answer=f"Log-density on a checkerboard: {', '.join(texts)}.",
        head=[
            "couplings",
            "parameters, without and with",
            "bijective",
            "with noise: ELBO",
            f"IWBO-{options['draws']}",
            "log-density",
            "log-density - IWBO",
            "difference",
        ],
        rows=rows,
        notes=[
            "Log-density with noise minus that without, seed by seed; higher is better. "
            + explain(len(names), "seeds and their points" if results.rerun else "seeds"),
            "The checkerboard with learned noise added, and without: two dimensions of it beside "
            "additive and affine couplings, one beside splines, whose networks are narrower where "
            f"noise is added. {spread_name(options['seeds']).capitalize()}; steps of 256 points: "
            f"{steps}. A flow with noise gives a lower bound: the ELBO, or the importance-weighted "
            f"bound (IWBO) of {options['draws']} draws. Its log-density is the integral over the "
            f"added dimensions, {two}² or {one} midpoints. Both flows are measured on the same "
            f"{facts['points']} test points, at which the data itself has "
            f"{average(chosen(runs, flow='surjective'), 'best') if results.rerun else -2.079:.4g}.",
            "A flow of the plane whose determinant is the same everywhere, which additive "
            "couplings make, can at best lay the densest disc of the base on the squares, which "
            "gives -1 - log 4 = -2.386. With noise beside the data the volume of what is seen of "
            "it may change. Affine couplings and splines change volumes themselves.",
        ],
    )
