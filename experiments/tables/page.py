"""How the results on tables read."""

from benchmarks.intervals import explain, interval, shown, spread_name
from experiments.common.pages import Page, cell, differ, grid
from experiments.common.results import Results, chosen
from experiments.tables.run import JOINT, METHODS, TWO_STEP

__all__ = ["page"]

MEASURES = {
    "frechet": "Fréchet distance",
    "sliced": "sliced Wasserstein",
    "nll": "ambient NLL, nats",
}


def page(results: Results) -> Page:
    """The page."""
    facts, options, runs = results.facts, results.options, results.runs
    sizes = facts["sizes"]
    looks = len(sizes) * len(JOINT) * len(MEASURES)
    gaps = {
        (name, method): [_gap(results, name, method, measure, looks) for measure in MEASURES]
        for name in sizes
        for method in JOINT
    }
    ends = [gap[1:] for row in gaps.values() for gap in row]
    below, above = sum(high < 0 for _, high in ends), sum(low > 0 for low, _ in ends)
    long = []
    for name in sizes:
        for method in METHODS:
            mine = chosen(runs, data=name, method=method)
            broken = sum(run["frechet"] is None for run in mine)
            cells = [cell(mine, measure) for measure in (*MEASURES, "error")]
            long.append([name.replace("_", " "), method, *cells, str(broken)])
    steps = options["steps"]
    splits = ", and splits of the data" if results.rerun else ""
    split = "each seed has another split, but for" if results.rerun else "one split, and"
    tables = [
        f"{name.replace('_', ' ')} ({size['columns']} columns, {size['latents']} latents, β = "
        f"{size['beta']:g}, {size['train']:,} training and {size['test']:,} test rows)"
        for name, size in sizes.items()
    ]
    return Page(
        question="Does joint training model tables better than two steps do?",
        answer=f"Of {looks} differences between joint training and two steps with the same "
        f"networks and budget, {below} have an interval below zero (the joint method has the lower "
        f"figure), {above} one above it, and {looks - below - above} one that holds it.",
        head=["data", "joint minus two-step", *MEASURES.values()],
        rows=[
            [name.replace("_", " "), method, *(text for text, _, _ in row)]
            for (name, method), row in gaps.items()
        ],
        notes=[
            "Lower is better everywhere. "
            + explain(looks, f"seeds: weights, batches, samples{splits}"),
            f"Tables: {', '.join(tables)}. {spread_name(options['seeds']).capitalize()}; {split} "
            "the test rows of MINIBOONE, which are the published ones. "
            f"{steps} steps of {facts['batch']} rows with Adam at {facts['rate']:g} and a cosine, "
            f"the epoch that did best on {facts['validation']:,} validation rows. Joint methods "
            f"spend the first {facts['warmup']:.0%} of their steps on the reconstruction alone. "
            f"Two-step trains the same networks as an autoencoder for {steps // 2} steps, then the "
            f"prior on its latents for {steps // 2}; with twice the steps, {steps} and {steps}. "
            "The prior is a spline flow of 3 layers everywhere.",
            "All figures are over test rows, in units of the training rows' standard deviation. "
            "Fréchet distance: squared, between Gaussians fitted to "
            f"{facts['samples']:,} samples and to the rows. Ambient NLL: residuals are scored as "
            "normal with the variance that they have on validation rows, so that no method gains "
            "from the β it was trained with. It is a density, of mass 1, where every fiber of the "
            "encoder is flat and passes through the point that is decoded from it; elsewhere its "
            "mass is another (see `metrics.log_mass`) and was not measured, so figures of "
            "injective flows and of the bijective one cannot be compared without it.",
            "Two columns of naval are constant and one is repeated, so that no density of full "
            "dimension exists: the likelihood of the bijective flow has no bound there.",
            "β was chosen on validation rows at two or three values, mostly with one seed, of the "
            "older run; on MINIBOONE in pilots that looked at test rows.",
        ],
        details=[
            (
                "All figures",
                "Error: squared residual of a row, summed over columns. Distances of the training "
                "rows themselves are for orientation and no bound.\n\n"
                + grid(["data", "method", *MEASURES.values(), "error", "NaN"], long),
            )
        ],
        keys=["data", "method"],
        measures=[*MEASURES, "error"],
    )


def _gap(
    results: Results, name: str, method: str, measure: str, looks: int
) -> tuple[str, float, float]:
    """Joint minus two-step with the same networks: as text, and the ends of its interval."""
    old = chosen(results.runs, data=name, method=f"{method}, difference")
    if old:
        ends = old[0][measure]
        return cell(old, measure), ends["low"], ends["high"]
    twin = next(each for each, kind in TWO_STEP.items() if kind == JOINT[method])
    both = [chosen(results.runs, data=name, method=each) for each in (method, twin)]
    gap = differ(*both, measure)
    return shown(gap, looks), *interval(gap, looks)
