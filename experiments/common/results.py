"""What an experiment found, as a file: all figures unformatted, one record a run."""

import json
import math
import shlex
import time
from argparse import Namespace
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

__all__ = ["Record", "Results", "chosen", "finite"]

Record = Mapping[str, Any]
"""One run: what was run (method, data, seed) and its figures; None where one is not finite."""


@dataclass
class Results:
    """The content of a results.json.

    Args:
        command: that made it.
        options: of the command, by name.
        date: of the last run, year-month-day.
        versions: of the packages.
        cpu_seconds: of the process, up to the last run; None where they are not known.
        facts: what the page says beside the runs, such as sizes of data.
        runs: a record for each.
        rerun: whether the present code made the figures; False where they are taken over from an
            older document.
        reason: why not.
    """

    command: str
    options: dict[str, Any]
    date: str = ""
    versions: dict[str, str] = field(default_factory=dict)
    cpu_seconds: float | None = 0.0
    facts: dict[str, Any] = field(default_factory=dict)
    runs: list[dict[str, Any]] = field(default_factory=list)
    rerun: bool = True
    reason: str = ""

    @classmethod
    def begin(cls, options: Namespace, question: str, **facts: Any) -> "Results":
        """Results of a command that has not run yet.

        Args:
            options: of the command line.
            question: name of the folder of the experiment.
            facts: what the page says beside the runs.
        """
        given = {
            name: value
            for name, value in vars(options).items()
            if not isinstance(value, Path) and value is not None
        }
        words = [f"--{name} {_words(value)}" for name, value in given.items()]
        reads = isinstance(vars(options).get("data"), Path)
        prefix = "LIGHTNING_FLOWS_DATA=data " if reads else ""
        command = " ".join([f"{prefix}python -m experiments.{question}.run", *words])
        return cls(command, given, versions=_versions(), facts=facts)

    @classmethod
    def load(cls, path: Path) -> "Results":
        """Read a file."""
        return cls(**json.loads(path.read_text("utf-8")))

    def add(self, path: Path, **run: Any) -> None:
        """Add a run, say so, and write the file, so that an interrupted command keeps what it has.

        Args:
            path: of the file.
            run: what was run, and its figures.
        """
        self.runs.append(_plain(run))
        self.cpu_seconds = round(time.process_time(), 1)
        self.date = datetime.now(UTC).date().isoformat()
        print(self.runs[-1], flush=True)
        self.save(path)

    def save(self, path: Path) -> None:
        """Write the file, and its folder if need be: a run a line."""
        found = asdict(self)
        runs = found.pop("runs")
        head = json.dumps(found, indent=1, ensure_ascii=False)[:-2]
        lines = ",\n  ".join(json.dumps(run, ensure_ascii=False) for run in runs)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f'{head},\n "runs": [\n  {lines}\n ]\n}}\n', encoding="utf-8")


def chosen(runs: Sequence[Record], **which: Any) -> list[Record]:
    """The runs whose entries are these, in order."""
    return [run for run in runs if all(run.get(name) == value for name, value in which.items())]


def finite(runs: Sequence[Record], name: str) -> list[float]:
    """The figures of one name, where they are numbers."""
    return [run[name] for run in runs if isinstance(run.get(name), int | float)]


def _plain(value: Any) -> Any:
    """Numbers that JSON has; None for those that it has not."""
    if isinstance(value, Mapping):
        return {name: _plain(part) for name, part in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(part) for part in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _words(value: Any) -> str:
    values = value if isinstance(value, list | tuple) else [value]
    return shlex.join(map(str, values))


def _versions() -> dict[str, str]:
    return {name: version(name) for name in ("torch", "lightning")}
