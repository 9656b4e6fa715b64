"""What tables of one data set share: categories, columns, and the precision of their numbers."""

from collections.abc import Sequence
from typing import Literal

import torch
from lightning.pytorch.utilities import rank_zero_warn

from lightning_flows.core.errors import DataError

from .categories import renumbered
from .degenerate import listed, redundant, repeated
from .files import Table
from .precision import needs_float64

__all__ = [
    "check_integers",
    "in_one_precision",
    "warn_of_repeated",
    "with_categories_of_training",
    "with_columns_of_training",
    "without_redundant",
]

_ROOM = 2.0**13  # float32 has ten bits left for noise on whole numbers up to here


def with_columns_of_training(tables: dict[str, Table]) -> dict[str, Table]:
    """Put columns in the order of the training table, by their names.

    Tables without names of their own, as of arrays, have columns in order.

    Raises:
        DataError: other names, or another number of columns.
    """
    names = tables["train"].names
    for split, table in tables.items():
        own = table.names
        if own == names or not names or not own:
            continue
        if len(own) != len(names):
            raise DataError(
                f"The {split} data has {len(own)} columns; the training data has {len(names)}. "
                "Choose the same with columns."
            )
        if {*own} == {*names}:
            places = [own.index(name) for name in names]
            tables = {**tables, split: table._replace(values=table.values[:, places], names=names)}
        elif _counted(own) or _counted(names):
            new = dict(zip(own, names, strict=True))
            categories = {new[name]: labels for name, labels in table.categories.items()}
            tables = {**tables, split: table._replace(names=names, categories=categories)}
        else:
            strange = [name for name in own if name not in names]
            raise DataError(
                f"The {split} data has columns that the training data has not: {listed(strange)}; "
                "give them the same names."
            )
    return tables


def _counted(names: Sequence[str]) -> bool:
    """Whether names are positions, as columns without a name have them."""
    return all(name.isdecimal() for name in names)


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


def in_one_precision(tables: dict[str, Table], *, centered: bool) -> dict[str, Table]:
    """Give all tables the default floating type, or float64 where that would cost digits.

    Args:
        tables: "train", and maybe "val" and "test".
        centered: whether a mean is subtracted from the data before a model sees it. If not, float64
            would be of no use to a model in the default type: digits go, with a warning.

    Raises:
        DataError: values that are not centered and too large for the default type.
    """
    dtype = torch.promote_types(torch.get_default_dtype(), torch.float32)
    losing = [
        split
        for split, table in tables.items()
        if needs_float64(table.values) or (table.integers and table.values.abs().max() > _ROOM)
    ]
    if losing and dtype != torch.float64 and centered:
        dtype = torch.float64
    elif losing and dtype != torch.float64:
        names = _losing(tables[losing[0]])
        if not all(table.values.to(dtype).isfinite().all() for table in tables.values()):
            raise DataError(
                f"The {losing[0]} data holds values that {dtype} cannot hold{names}; set "
                "standardize to true, which scales them first."
            )
        rank_zero_warn(
            f"The {losing[0]} data loses digits in {dtype}{names}: set standardize to true, which "
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


def check_integers(tables: dict[str, Table]) -> None:
    """Refuse columns that are to be dequantized and do not hold whole numbers.

    Raises:
        DataError: names the split, the columns and the first value that is none.
    """
    integers = tables["train"].integers
    for split, table in tables.items():
        if not integers:
            continue
        places = [i for i, name in enumerate(table.names) if name in integers]
        values = table.values[:, places] if table.names else table.values
        broken = (values != values.round()).flatten(1).any(0).nonzero().flatten().tolist()
        if broken:
            where = [table.names[places[i]] for i in broken] if table.names else []
            raise DataError(
                f"The {split} data holds values that are not whole numbers"
                f"{f' in columns {listed(where)}' if where else ''}; dequantize takes whole "
                "numbers alone."
            )


def warn_of_repeated(table: Table) -> None:
    """Warn of columns, or pixels, whose repeated values leave the data without a density."""
    if table.names:
        places = [
            i
            for i, name in enumerate(table.names)
            if name not in table.categories and name not in table.integers
        ]
        names = [f"column {name}" for name in table.names]
        found = repeated(table.values, names, places, "rows")
        whole = [table.names[i] for i, reason in found.items() if "whole numbers" in reason]
        ways = [f"set dequantize to [{listed(whole)}]"] if whole else []
        ways += ["name them in categorical, or leave them out with columns"]
    elif table.integers:
        return
    else:
        flat = table.values.flatten(1)
        entries = flat[:, (flat != flat[0]).any(0)].reshape(-1, 1)  # a border is no matter
        found = repeated(entries, ["the array"], [0], "places") if len(entries) else {}
        ways = ["multiply them to whole numbers if need be, and set dequantize to true"]
    if found:
        rank_zero_warn(
            f"The training data has no density, so that likelihoods can grow without bound: "
            f"{listed(found.values())}; {', '.join(ways)}.",
            stacklevel=4,
        )


def without_redundant(
    tables: dict[str, Table], treatment: Literal["refuse", "drop", "keep"]
) -> dict[str, Table]:
    """Refuse, drop or keep the columns that are redundant in the training table.

    Args:
        tables: "train", and maybe "val" and "test", which lose the same columns.
        treatment: what to do; only tables with two dimensions are looked at.

    Raises:
        DataError: redundant columns that are refused, or none left after dropping.
    """
    names = tables["train"].names
    if treatment == "keep" or not names:
        return tables
    train = tables["train"]
    real = [i for i, name in enumerate(names) if name not in {*train.categories, *train.integers}]
    found = redundant(train.values, names, real)
    if not found:
        return tables
    if treatment == "refuse":
        raise DataError(
            f"The training data has redundant columns: {listed(found.values())}; set redundant to "
            "drop, or to keep for a flow that learns a manifold."
        )
    kept = [place for place in range(len(names)) if place not in found]
    if not kept:
        raise DataError("All columns of the training data are constant.")
    return {
        split: table._replace(
            values=table.values[:, kept], names=tuple(names[place] for place in kept)
        )
        for split, table in tables.items()
    }
