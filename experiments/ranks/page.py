"""How the results on rank-deficient tables read."""

from experiments.common.pages import Page, grid
from experiments.common.results import Record, Results, chosen
from experiments.ranks.run import RATE

__all__ = ["page"]


def page(results: Results) -> Page:
    """The page."""
    facts, options, runs = results.facts, results.options, results.runs
    ranks = facts["ranks"]
    right = sum(run["dimension"] == ranks[run["table"]] for run in runs)
    sides = [_sides(run, ranks[run["table"]]) for run in runs]
    short, long = [], []
    for table, flow in dict.fromkeys((run["table"], run["flow"]) for run in runs):
        mine = chosen(runs, table=table, flow=flow)
        ends = [_sides(run, ranks[table]) for run in mine]
        counts = ", ".join(str(run["dimension"]) for run in mine)
        local = ", ".join(f"{run['local']:.0f}" for run in mine)
        least, most = min(last for last, _ in ends), max(beyond for _, beyond in ends)
        short.append([table, flow, str(ranks[table]), counts, f"{least:.3g}", f"{most:.2g}", local])
        for run, (last, beyond) in zip(mine, ends, strict=True):
            cells = [f"{run['noise']:.2g}", str(run["dimension"]), f"{last:.3g}", f"{beyond:.2g}"]
            long.append([table, flow, str(run["seed"]), *cells, f"{run['local']:.0f}"])
    return Page(
        question="Do flows report the rank of a table whose columns depend on each other?",
        answer=f"{right} of {len(runs)} runs do: over all rows, the direction that the rank counts "
        f"last is at least {min(last for last, _ in sides):.2g}·2α wide, and the next at most "
        f"{max(beyond for _, beyond in sides):.2g}·2α, with {facts['threshold']:g}·2α as the "
        "threshold.",
        head=[
            "table",
            "flow",
            "rank",
            "dimension, by seed",
            "least λ/2α of the last",
            "largest of the next",
            "around a row, by seed",
        ],
        rows=short,
        notes=[
            f"{options['steps']} steps of {facts['batch']} rows turned to their principal axes (an "
            f"orthogonal map), Adam at {RATE:g} and a cosine, with noise of variance 2α = a tenth "
            "of the smallest eigenvalue of the covariance above rounding. All columns, "
            "standardized; constant ones, which have no unit, are 0. Each seed has another split. "
            f"Dimension: directions that the {facts['points']} test rows together vary in, "
            f"λ > {facts['threshold']:g}·2α in the mean over rows (`metrics.SpannedDimension`). "
            "Around a row: median of the dimensions at single rows.",
            "A linear flow sees the subspace that the rows span, and nothing else. A flow that "
            "bends sees the rows as they lie around each point. These tables are grids of a few "
            "settings with thin clouds between, so locally fewer directions are wider than the "
            "noise; over all rows every one of them is.",
        ],
        details=[
            (
                "Every run",
                grid(
                    [
                        "table",
                        "flow",
                        "seed",
                        "2α",
                        "dimension",
                        "λ/2α, last",
                        "next",
                        "around a row",
                    ],
                    long,
                ),
            )
        ],
        keys=["table", "flow"],
        measures=["dimension", "local"],
    )


def _sides(run: Record, rank: int) -> tuple[float, float]:
    """λ/2α of the direction that the rank counts last, and of the next."""
    return run["spanned"][rank - 1] / run["noise"], run["spanned"][rank] / run["noise"]
