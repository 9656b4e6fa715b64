"""What experiments share: their command line, and one thread."""

import os
from argparse import ArgumentParser, Namespace
from collections.abc import Sequence
from pathlib import Path

import torch

__all__ = ["begin", "command_line"]

_PATHS = {
    "data": "folder of data; LIGHTNING_FLOWS_DATA, or data, unless given",
    "out": "Markdown file to write the table to, in a section of its own",
    "figure": "PNG file to draw",
}


def command_line(doc: str | None, *paths: str, **numbers: int) -> ArgumentParser:
    """The parser of an experiment.

    Args:
        doc: of its module; the first line is shown in the help.
        paths: which of data, out and figure it takes.
        numbers: options that are whole numbers, with what they are unless given.
    """
    parser = ArgumentParser(description=doc.partition("\n")[0] if doc else None)
    for name, default in numbers.items():
        parser.add_argument(f"--{name}", type=int, default=default, help=f"{default} unless given")
    for name in paths:
        default = Path(os.environ.get("LIGHTNING_FLOWS_DATA", "data")) if name == "data" else None
        parser.add_argument(f"--{name}", type=Path, default=default, help=_PATHS[name])
    return parser


def begin(parser: ArgumentParser, arguments: Sequence[str] | None) -> Namespace:
    """Read the options, and compute on one thread from here on."""
    options = parser.parse_args(arguments)
    torch.set_num_threads(1)
    return options
