"""Columns of a table that say nothing: constant ones, and repetitions of earlier ones."""

from typing import Literal

import torch

from lightning_flows.errors import DataError

from .files import Table

__all__ = ["without_redundant"]


def without_redundant(
    tables: dict[str, Table], redundant: Literal["refuse", "drop", "keep"]
) -> dict[str, Table]:
    """Refuse, drop or keep the columns that are redundant in the training table.

    Args:
        tables: "train", and maybe "val" and "test", which lose the same columns.
        redundant: what to do; only tables with two dimensions are looked at.

    Raises:
        DataError: redundant columns that are refused, or none left after dropping.
    """
    names = tables["train"].names
    if redundant == "keep" or not names:
        return tables
    found = _redundant(tables["train"])
    if not found:
        return tables
    if redundant == "refuse":
        reasons = [
            f"{names[place]} is constant"
            if first is None
            else f"{names[place]} equals {names[first]}"
            for place, first in found.items()
        ]
        shown = ", ".join(reasons[:8]) + (f" and {len(found) - 8} more" if len(found) > 8 else "")
        raise DataError(
            f"The training data has redundant columns: {shown}; set redundant to drop, or to keep "
            "for a flow that learns a manifold."
        )
    kept = [place for place in range(len(names)) if place not in found]
    if not kept:
        raise DataError("All columns of the training data are constant.")
    for split, table in tables.items():
        if len(table.names) != len(names):
            raise DataError(
                f"The {split} data has {len(table.names)} columns; the training data has "
                f"{len(names)}."
            )
    return {
        split: Table(table.values[:, kept], tuple(table.names[place] for place in kept))
        for split, table in tables.items()
    }


def _redundant(table: Table) -> dict[int, int | None]:
    """Places of redundant columns, each with the place of its first like, None if constant."""
    x = table.values
    constant = (x.amax(0) == x.amin(0)).tolist()
    _, kinds = torch.unique(x, dim=1, return_inverse=True)
    first: dict[int, int] = {}
    found: dict[int, int | None] = {}
    for place, kind in enumerate(kinds.tolist()):
        if constant[place]:
            found[place] = None
        elif first.setdefault(kind, place) != place:
            found[place] = first[kind]
    return found
