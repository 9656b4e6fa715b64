"""Pages of results: a question, its answer, a short table, and the long one behind a fold."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import mean, stdev

from benchmarks.intervals import Difference, paired, spread, unpaired
from experiments.common.results import Record, Results, chosen, finite

__all__ = ["Figure", "Page", "average", "cell", "differ", "grid", "render"]

CHANGES = (
    "two changes: swapped couplings of an odd number of features became complements of the "
    "others, where the middle feature used to be seen by no layer, and the stochastic volume got "
    "another estimator with the same expectation and less scatter"
)
APART = 2.0  # standard errors of a difference, beyond which a figure is said to have moved
SHOWN = 8  # rows of a short table


@dataclass(frozen=True)
class Figure:
    """A picture of a page.

    Args:
        file: its name in docs/images.
        caption: what it shows.
    """

    file: str
    caption: str


@dataclass(frozen=True)
class Page:
    """What a page says; the rest of it is made from the results.

    Args:
        question: its title.
        answer: one sentence.
        head: columns of the short table.
        rows: cells of it, at most eight rows.
        notes: paragraphs below it.
        figure: a picture, or None.
        details: titles and Markdown of what is behind a fold.
        keys: entries of a run that say what was run, the seed apart.
        measures: entries that are compared with an older run.
    """

    question: str
    answer: str
    head: Sequence[str]
    rows: Sequence[Sequence[str]]
    notes: Sequence[str] = ()
    figure: Figure | None = None
    details: Sequence[tuple[str, str]] = ()
    keys: Sequence[str] = ()
    measures: Sequence[str] = ()

    def __post_init__(self) -> None:
        if len(self.rows) > SHOWN:
            raise ValueError(
                f"The table of {self.question!r} has {len(self.rows)} rows; accepted are {SHOWN}: "
                "put a longer one into details."
            )


def grid(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A table in Markdown; columns that begin with text are set to the left."""
    right = [
        all(re.match(r"[-+–\d]", row[place]) for row in rows) and place > 0
        for place in range(len(head))
    ]
    rule = ["---:" if number else "---" for number in right]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in (head, rule, *rows))


def average(runs: Sequence[Record], name: str) -> float:
    """Mean of a figure over the runs where it is a number; NaN where there is none."""
    summary = _summary(runs, name)
    if summary is not None:
        return float(summary["mean"])
    values = finite(runs, name)
    return mean(values) if values else float("nan")


def cell(runs: Sequence[Record], name: str, digits: int = 3) -> str:
    """Mean ± standard error, or mean and range of two; a dash where there is no figure."""
    summary = _summary(runs, name)
    if summary is None:
        return spread(finite(runs, name), digits=digits)
    middle = f"{summary['mean']:.{digits}g}"
    if "error" in summary:
        return f"{middle} ± {summary['error']:.2g}"
    return f"{middle} ({summary['low']:.{digits}g} to {summary['high']:.{digits}g})"


def differ(
    ours: Sequence[Record], theirs: Sequence[Record], name: str, *, pairs: bool = True
) -> Difference:
    """Difference of the means of two methods, seed by seed or over seeds apart."""
    if not pairs:
        return unpaired(finite(ours, name), finite(theirs, name))
    both = [
        [run[name] if isinstance(run.get(name), int | float) else float("nan") for run in runs]
        for runs in (ours, theirs)
    ]
    return paired(*both)


def render(page: Page, results: Results, before: Results | None) -> str:
    """The whole page in Markdown.

    Args:
        page: what it says.
        results: that it was made from.
        before: those of an older run, to compare with.
    """
    parts = [f"# {page.question}", page.answer, grid(page.head, page.rows)]
    if page.figure is not None:
        parts.append(f"![{page.figure.caption}](../images/{page.figure.file})")
        parts.append(f"*{page.figure.caption}*")
    parts += [*page.notes, f"```\n{results.command}\n```", _origin(results)]
    details = list(page.details)
    if before is not None and results.rerun:
        text, folds = _moved(page, results, before)
        parts.append(text)
        details += folds
    for title, text in details:
        parts.append(f"<details>\n<summary>{title}</summary>\n\n{text}\n\n</details>")
    return "\n\n".join(parts) + "\n"


def _origin(results: Results) -> str:
    if not results.rerun:
        return (
            f"The figures were not computed again with the present code: {results.reason}. They "
            f"are from before {CHANGES}{_other(results)}. The old command was "
            f"`{results.facts['old_command']}`."
        )
    versions = ", ".join(f"{name} {number}" for name, number in results.versions.items())
    return f"{results.date}, {versions}, {results.cpu_seconds:,.0f} CPU seconds on one thread."


def _other(older: Results) -> str:
    """What else was different when older figures were computed."""
    other = older.facts["older"]
    return f"; {other}" if other else ""


def _moved(page: Page, results: Results, before: Results) -> tuple[str, list[tuple[str, str]]]:
    """A sentence and tables about figures of an older run."""
    count, rows = 0, []
    for old in before.runs:
        which = _keyed(page, old)
        runs = chosen(results.runs, **which)
        for name in page.measures:
            then, now = _estimate([old], name), _estimate(runs, name)
            if then is None or now is None:
                continue
            count += 1
            if abs(now[0] - then[0]) > APART * (now[1] ** 2 + then[1] ** 2) ** 0.5:
                label = ", ".join(f"{value}" for value in which.values())
                rows.append([label, name.replace("_", " "), cell([old], name), cell(runs, name)])
    text = (
        f"An older run is from before {CHANGES}{_other(before)}. Of {count} figures that both have "
        f"with an error, {len(rows)} lie more than {APART:g} standard errors of the difference "
        "from the older ones."
    )
    folds = []
    if rows:
        folds.append(("Figures that moved", grid(["what", "figure", "then", "now"], rows)))
    alone = [old for old in before.runs if not chosen(results.runs, **_keyed(page, old))]
    if alone:
        cells = [
            [*map(str, _keyed(page, old).values()), *(cell([old], name) for name in page.measures)]
            for old in alone
        ]
        text += f" What was not run again, {len(alone)} rows of the older table, is below."
        folds.append(("Older figures that were not run again", grid(_heads(page), cells)))
    return text, folds


def _keyed(page: Page, run: Record) -> dict[str, object]:
    """What was run."""
    return {key: run[key] for key in page.keys}


def _heads(page: Page) -> list[str]:
    return [name.replace("_", " ") for name in (*page.keys, *page.measures)]


def _summary(runs: Sequence[Record], name: str) -> dict[str, float] | None:
    """The figure of a table that was taken over, where one run stands for all seeds."""
    if len(runs) == 1 and isinstance(runs[0].get(name), dict):
        found: dict[str, float] = runs[0][name]
        return found
    return None


def _estimate(runs: Sequence[Record], name: str) -> tuple[float, float] | None:
    """Mean and standard error, where there is one."""
    summary = _summary(runs, name)
    if summary is not None:
        error = summary.get("error", (summary.get("high", 0) - summary.get("low", 0)) / 2)
        return summary["mean"], error
    values = finite(runs, name)
    if len(values) < 2:
        return None
    return mean(values), stdev(values) / len(values) ** 0.5
