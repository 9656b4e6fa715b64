"""How the results on flows that preserve volume read."""

from experiments.common.pages import Page, average, cell
from experiments.common.results import Results, chosen

__all__ = ["page"]


def page(results: Results) -> Page:
    """The page."""
    facts, options, runs = results.facts, results.options, results.runs
    weights = facts["weights"]
    rows, above = [], {}
    for name, least in facts["best"].items():
        cells = []
        for weight, bound in zip(weights, least, strict=True):
            mine = chosen(runs, flow=name, weight=weight)
            if mine:  # an interrupted command has not come to all of them
                above.setdefault(name, []).append(average(mine, "divergence") - bound)
            cells.append(f"{cell(mine, 'divergence')}; {bound:.4f}")
        rows.append([name, *cells])
    seeds = len({run["seed"] for run in runs})
    ends = ", ".join(
        f"{min(values):+.4f} to {max(values):+.4f} with a {name}" for name, values in above.items()
    )
    scales = ", ".join(f"{scale:.4f}" for scale in facts["scales"])
    return Page(
        question="What do flows lose whose layers all preserve volume, and what repairs it?",
        answer="Mean divergences from the data lie above the least possible ones, in nats, by "
        f"{ends}.",
        head=["flow", *(f"w = {weight:g}: mean; least" for weight in weights)],
        rows=rows,
        notes=[
            "KL(data ‖ flow) in nats, for data w·N(-5e₁, I) + (1 - w)·N(5e₁, I), mean ± standard "
            f"error (seeds: {seeds}), by quadrature on a grid; behind the semicolon "
            "the least that any flow of that kind can have. A map that preserves volume gives the "
            "k-th highest density of the base to the point with the k-th highest density of the "
            "data at best (Draxler et al. 2024, arXiv 2402.06578), so that the least divergence is "
            "one between two profiles, by quadrature too. With a learned global scale the base is "
            f"wider by the best factor, {scales}. A learned radial base has any profile, and "
            "nothing is lost.",
            f"Flows: `NICE` with {facts['layers']} additive couplings and networks of "
            f"{facts['hidden']} SiLU units, with `scaling=False`, with `scaling=True`, and with "
            f"`base=RadialBase`. {options['steps']:,} steps of {facts['batch']} of "
            f"{facts['rows']:,} rows, Adam from a learning rate of {facts['rate']:g} along a "
            "cosine; each seed has other points. What is left above the least is what these "
            "couplings have not learned in as many steps. Layers, activation and learning rate "
            "were chosen on single runs with seed 0 before.",
        ],
    )
