"""What a benchmark found, as a table to read and as files to keep."""

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path

from rich.table import Table

from benchmarks.timing import Timing

__all__ = ["Row", "markdown", "save", "speed_row", "table"]

_COLUMNS = ("case", "ours", "peer", "theirs", "compared", "goal", "met")


@dataclass(frozen=True)
class Row:
    """One comparison.

    Args:
        case: what was compared.
        ours: our figure.
        peer: whom with.
        theirs: the peer's figure.
        compared: ratio of times (median, quartiles), or difference in nats (± standard error).
        goal: what was aimed at; empty where a figure is for information only.
        met: whether the goal was met; None where there is none.
        numbers: the figures unformatted, for the JSON file.
    """

    case: str
    ours: str
    peer: str
    theirs: str
    compared: str
    goal: str = ""
    met: bool | None = None
    numbers: dict[str, float | list[float]] = field(default_factory=dict)

    @property
    def cells(self) -> tuple[str, ...]:
        """What the columns of a table hold."""
        met = "" if self.met is None else "yes" if self.met else "NO"
        return self.case, self.ours, self.peer, self.theirs, self.compared, self.goal, met


def speed_row(
    case: str, timing: Timing, peer: str, *, ours: str = "ours", at_most: float | None = None
) -> Row:
    """Compare two candidates of a timing; the ratio is ours / peer, below 1 where we are faster.

    Args:
        case: what was timed.
        timing: of both candidates.
        peer: whom to compare with.
        ours: name of our candidate.
        at_most: largest ratio that meets the goal; None where there is no goal.
    """
    ratio = timing.ratio(ours, peer)
    return Row(
        case,
        _milliseconds(timing.median(ours)),
        peer,
        _milliseconds(timing.median(peer)),
        f"{ratio.median:.3g} ({ratio.low:.3g}-{ratio.high:.3g})",
        "" if at_most is None else f"≤ {at_most:.3g}",
        None if at_most is None else ratio.median <= at_most,
        {
            "ratio": ratio.median,
            "quartiles": [ratio.low, ratio.high],
            "seconds_ours": timing.median(ours),
            "seconds_peer": timing.median(peer),
            "rounds": len(timing.seconds[ours]),
        },
    )


def table(title: str, rows: Sequence[Row], caption: str = "") -> Table:
    """A table for the terminal."""
    made = Table(title=title, title_justify="left", caption=caption, caption_justify="left")
    for column in _COLUMNS:
        made.add_column(column, justify="left" if column in ("case", "peer", "goal") else "right")
    for row in rows:
        style = "bold red" if row.met is False else "green" if row.met else None
        made.add_row(*row.cells, style=style)
    return made


def markdown(title: str, facts: dict[str, str], rows: Sequence[Row]) -> str:
    """The same table in Markdown, with the facts of the run above it."""
    head = [f"# {title}", "", *(f"- {name}: {fact}" for name, fact in facts.items()), ""]
    lines = ["| " + " | ".join(cells) + " |" for cells in (_COLUMNS, *(row.cells for row in rows))]
    lines.insert(1, "|---|---:|---|---:|---:|---|---|")
    return "\n".join(head + lines) + "\n"


def save(path: Path, title: str, facts: dict[str, str], rows: Sequence[Row]) -> None:
    """Write a .json file, or Markdown under any other name."""
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.suffix == ".json":
        found = {"title": title, "facts": facts, "rows": [asdict(row) for row in rows]}
        text = json.dumps(found, indent=1, ensure_ascii=False) + "\n"
    else:
        text = markdown(title, facts, rows)
    path.write_text(text, encoding="utf-8")


def _milliseconds(seconds: float) -> str:
    return f"{1e3 * seconds:.3g} ms" if seconds < 10 else f"{seconds:.3g} s"
