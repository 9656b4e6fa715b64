"""How the results on the next block read."""

from experiments.common.pages import Figure, Page
from experiments.common.results import Results, chosen

__all__ = ["page"]

CLOSE = 0.02


def page(results: Results) -> Page:
    """The page."""
    facts, options, runs = results.facts, results.options, results.runs
    apart = [abs(run["gain"] - run["delta"]) for run in runs]
    errors = [(run["gain_error"] ** 2 + run["delta_error"] ** 2) ** 0.5 for run in runs]
    within = sum(gap <= 2 * error for gap, error in zip(apart, errors, strict=True))
    rows = []
    for seed in sorted({run["seed"] for run in runs}):
        mine = chosen(runs, seed=seed)
        worst = max(mine, key=lambda run: abs(run["gain"] - run["delta"]))
        rows.append(
            [
                str(seed),
                f"{sum(run['delta'] for run in mine):.4f}",
                f"{sum(run['gain'] for run in mine):.4f}",
                f"{abs(worst['gain'] - worst['delta']):.4f}",
                str(worst["block"]),
                f"{mine[-1]['delta']:.4f} ± {mine[-1]['delta_error']:.2g}",
            ]
        )
    return Page(
        question="Does the affine gain say what the next block will gain?",
        answer=f"Of {len(runs)} blocks {sum(gap <= CLOSE for gap in apart)} gain what Δ had said "
        f"up to {CLOSE:g} nats, and {within} up to two standard errors of the difference; the "
        f"largest difference is {max(apart):.4f}.",
        head=["seed", "sum of Δ", "sum of gains", "largest difference", "at block", "last Δ"],
        rows=rows,
        notes=[
            "In nats. Greedy blocks on standardized moons: Δ is measured with "
            f"`metrics.affine_gain` on {facts['rows']:,} validation latents, which chooses the "
            "rotation among ten as well; a `RealNVP` of one layer behind that rotation, with "
            f"networks of {facts['hidden']} units, is trained for {options['steps']:,} steps of "
            f"{facts['batch']} on as many training latents; its gain is the difference of mean "
            "log-likelihoods with and without it on as many test points. All points are drawn anew "
            "for each block. For a block at its optimum the two are the same number (Draxler et "
            "al. 2024, arXiv 2402.06578); what is fitted falls short of the optimum, here and "
            "there by other amounts.",
            "Two runs before this one, on seed 0, had SiLU units in the trained blocks: blocks 8 "
            "to 10 gained 0.001 nats or less where Δ, which is measured with ReLU networks, said "
            "0.004 to 0.007 (the same training points for all blocks) and 0.007 to 0.04 (points "
            "drawn anew).",
        ],
        figure=Figure(
            "next_block.png",
            "Δ before each block, and what the block then gained, with two standard errors; "
            "linear below 0.01.",
        ),
    )
