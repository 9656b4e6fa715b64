"""What tables of one data set share: categories, columns, and the precision of their numbers."""

from collections.abc import Sequence
from typing import Literal

import torch
from lightning.pytorch.utilities import rank_zero_warn

from lightning_flows.errors import DataError

from .categories import renumbered
from .files import Table
from .precision import needs_float64

__all__ = ["in_one_precision", "with_categories_of_training", "without_redundant"]


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


def in_one_precision(tables: dict[str, Table], *, centred: bool) -> dict[str, Table]:
    """Give all tables the default floating type, or float64 where that would cost digits.

    Args:
        tables: "train", and maybe "val" and "test".
        centred: whether a mean is subtracted from the data before a model sees it. If not, float64
            would be of no use to a model in the default type: digits go, with a warning.

    Raises:
        DataError: values that are not centred and too large for the default type.
    """
    dtype = torch.promote_types(torch.get_default_dtype(), torch.float32)
    losing = [split for split, table in tables.items() if needs_float64(table.values)]
    if losing and dtype != torch.float64 and centred:
        dtype = torch.float64
    elif losing and dtype != torch.float64:
        names = _losing(tables[losing[0]])
        if not all(table.values.to(dtype).isfinite().all() for table in tables.values()):
            raise DataError(
                f"The {losing[0]} data holds values that {dtype} cannot hold{names}; set "
                "standardise to true, which scales them first."
            )
        rank_zero_warn(
            f"The {losing[0]} data loses digits in {dtype}{names}: set standardise to true, which "
            "subtracts the mean first.",
            stacklevel=4,
        )
    return {split: table._replace(values=table.values.to(dtype)) for split, table in tables.items()}


def _losing(table: Table) -> str:
    """Which columns need float64, as the end of a sentence; nothing where there are no columns."""
    found = [
        name for i, name in enumerate(table.names) if needs_float64(table.values[:, i : i + 1])
    ]
    return f", in {'column' if len(found) == 1 else 'columns'} {listed(found)}" if found else ""


def listed(reasons: Sequence[str]) -> str:
    """The first eight of them, and how many there are besides."""
    more = f" and {len(reasons) - 8} more" if len(reasons) > 8 else ""
    return f"{', '.join(reasons[:8])}{more}"


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
