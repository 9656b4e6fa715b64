"""The command line of an experiment; it computes on one thread."""

import os
from argparse import ArgumentParser, Namespace
from collections.abc import Sequence
from pathlib import Path

import torch

__all__ = ["HOME", "begin", "command_line"]

HOME = Path(__file__).parents[2]
"""Root of the checkout."""


def command_line(
    doc: str | None, question: str, *, data: bool = False, figure: bool = False, **numbers: int
) -> ArgumentParser:
    """The parser of an experiment.

    Args:
        doc: of its module; the first line is shown in the help.
        question: name of its folder.
        data: whether it reads data from a folder.
        figure: whether it draws.
        numbers: options that are whole numbers, with what they are unless given.
    """
    parser = ArgumentParser(
        prog=f"python -m experiments.{question}.run",
        description=doc.partition("\n")[0] if doc else None,
    )
    for name, default in numbers.items():
        parser.add_argument(f"--{name}", type=int, default=default, help=f"{default} unless given")
    if data:
        folder = Path(os.environ.get("LIGHTNING_FLOWS_DATA", "data"))
        text = "folder of data; LIGHTNING_FLOWS_DATA, or data, unless given"
        parser.add_argument("--data", type=Path, default=folder, help=text)
    out = HOME / "experiments" / question / "results.json"
    parser.add_argument("--out", type=Path, default=out, help="file of the results")
    if figure:
        path = HOME / "docs" / "images" / f"{question}.png"
        parser.add_argument("--figure", type=Path, default=path, help="PNG file to draw")
    return parser


def begin(parser: ArgumentParser, arguments: Sequence[str] | None) -> Namespace:
    """Read the options, and compute on one thread from here on."""
    options = parser.parse_args(arguments)
    torch.set_num_threads(1)
    return options
