"""Columns of a table: redundant ones, and categories that mean the same in all tables."""

from typing import Literal

import torch

from lightning_flows.errors import DataError

from .categories import renumbered
from .files import Table

__all__ = ["with_categories_of_training", "without_redundant"]


def with_categories_of_training(tables: dict[str, Table]) -> dict[str, Table]:
    """Number categories in all tables as in the training table.

    Raises:
        DataError: a category that the training table does not have.
    """
    labels = tables["train"].categories
    for split, table in tables.items():
        if split != "train" and labels:
            values = table.values.clone()
            for name, own in table.categories.items():
                place = table.names.index(name)
                owner = f"Column {name} of the {split} data"
                values[:, place] = renumbered(values[:, place], own, labels[name], owner)
            tables = {**tables, split: table._replace(values=values, categories=labels)}
    return tables


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
        split: table._replace(
            values=table.values[:, kept], names=tuple(table.names[place] for place in kept)
        )
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
