"""`python -m benchmarks`: measure, print a table of every goal, keep it in files."""

import argparse
import platform
import sys
import warnings
from collections.abc import Sequence
from dataclasses import replace
from importlib.metadata import version
from pathlib import Path

import torch
from rich.console import Console

from benchmarks.quality import SETTINGS, quality_rows
from benchmarks.report import Row, save, table
from benchmarks.speed import Effort, speed_rows

__all__ = ["main"]

TITLE = "lightning-flows beside its peers"


def main(arguments: Sequence[str] | None = None) -> list[Row]:
    """Run the benchmarks; a missed goal is printed, and is no error.

    Args:
        arguments: of the command line.

    Returns:
        All rows of the tables.
    """
    options = _parser().parse_args(arguments)
    console = Console() if sys.stdout.isatty() else Console(width=140)
    rows: list[Row] = []
    facts = _facts(options.quick)
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", ".*torch.jit.script.* is deprecated")  # by jvp
            for part in ("speed", "quality"):
                if options.only in (None, part):
                    rows += _run(part, options, console, facts, rows)
    finally:
        torch.set_num_threads(threads)
    missed = [row for row in rows if row.met is False]
    aims = sum(row.met is not None for row in rows)
    if not options.quick:
        console.print(f"{aims - len(missed)} of {aims} goals met.")
    return rows


def _run(
    part: str,
    options: argparse.Namespace,
    console: Console,
    facts: dict[str, str],
    before: list[Row],
) -> list[Row]:
    quick = options.quick
    rows: list[Row] = []

    def say(text: str) -> None:
        print(text, file=sys.stderr, flush=True)

    if part == "speed":
        effort = Effort.quick() if quick else Effort()
        facts["speed sizes"] = str(effort)
        found = speed_rows(effort)
    else:
        settings = tuple(s.quick() for s in SETTINGS) if quick else SETTINGS
        found = quality_rows(settings, options.seeds, say)
    for row in found:
        rows.append(replace(row, met=None) if quick else row)
        say(f"{row.case}: {row.ours} beside {row.theirs} ({row.peer}), {row.compared}")
        for path in options.out:  # what is known so far survives an interruption
            save(path, TITLE, facts, before + rows)
    console.print(table(part.capitalize(), rows, facts[part]))
    return rows


def _facts(quick: bool) -> dict[str, str]:
    names = ("torch", "lightning", "zuko", "nflows")
    facts = {
        "versions": ", ".join(f"{name} {version(name)}" for name in names),
        "machine": f"{platform.machine()}, {platform.system()}, one thread, process CPU time",
        "speed": "compared is ours / peer: median and quartiles over rounds; below 1 is faster",
        "quality": "test nats, mean ± standard error over seeds; compared is ours - peer, in "
        "brackets a t-interval over seeds that holds for all rows at once at 95 %",
    }
    if quick:
        facts["quick"] = "tiny sizes, so that these figures mean nothing"
    return facts


def _positive(text: str) -> int:
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError(f"{number}; accepted are integers from 1 up")
    return number


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("--only", choices=["speed", "quality"], help="leave out the other part")
    parser.add_argument("--quick", action="store_true", help="tiny sizes: does it run?")
    parser.add_argument(
        "--seeds", type=_positive, default=3, help="repetitions of quality (default 3)"
    )
    parser.add_argument(
        "--out",
        type=Path,
        nargs="+",
        default=[],
        metavar="FILE",
        help="also write the table: Markdown, or JSON where the name ends in .json",
    )
    return parser


if __name__ == "__main__":
    main()
