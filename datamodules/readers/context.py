"""Columns of a table that a density is conditioned on."""

from collections.abc import Mapping
from typing import NamedTuple

import torch
from torch import Tensor

from lightning_flows.core.errors import DataError

from .categories import Labels, renumbered
from .degenerate import listed
from .files import Table, as_table, read_content

__all__ = ["ContextColumns", "context_apart", "read_context", "refuse_constant_context"]


class ContextColumns(NamedTuple):
    """What the entries of a context vector are, in their order.

    A real column is one entry; a column of categories is one entry for each of them.

    Args:
        names: names of the columns.
        categories: the categories of each column that has some, by its name.
    """

    names: tuple[str, ...]
    categories: Mapping[str, Labels]

    @property
    def entries(self) -> tuple[str, ...]:
        """Names of the entries: the column's, or `column=category`."""
        found: list[str] = []
        for name in self.names:
            labels = self.categories.get(name)
            found += [name] if labels is None else [f"{name}={label}" for label in labels]
        return tuple(found)

    @property
    def one_hot(self) -> list[int]:
        """Places of the entries of categories."""
        return [place for place, name in enumerate(self.owners) if name in self.categories]

    @property
    def owners(self) -> list[str]:
        """Name of the column that each entry belongs to."""
        return [name for name in self.names for _ in self.categories.get(name, (None,))]

    def vectors(self, table: Table) -> Tensor:
        """Context of the rows of a table that has these columns and categories: (rows, entries)."""
        parts = []
        for name in self.names:
            column = table.values[:, table.names.index(name)]
            if name in self.categories:
                classes = len(self.categories[name])
                part = torch.nn.functional.one_hot(column.long(), classes).to(column.dtype)
            else:
                part = column[:, None]
            parts.append(part)
        return torch.cat(parts, 1)


def context_apart(
    tables: dict[str, Table],
) -> tuple[dict[str, Table], dict[str, Table], ContextColumns]:
    """Take the columns of context, as the training table names them, out of all tables.

    Args:
        tables: "train", and maybe "val" and "test", with the same columns and categories.

    Returns:
        The tables without them, tables of context vectors, and what those vectors are.

    Raises:
        DataError: nothing but context, or a column of it that is constant in the training data.
    """
    train = tables["train"]
    columns = ContextColumns(
        train.context,
        {name: train.categories[name] for name in train.context if name in train.categories},
    )
    kept = [place for place, name in enumerate(train.names) if name not in columns.names]
    if not kept:
        raise DataError("All columns of the training data are context; leave one to be learned.")
    rest, contexts = {}, {}
    for split, table in tables.items():
        contexts[split] = Table(columns.vectors(table), columns.entries)
        names = tuple(train.names[place] for place in kept)
        rest[split] = table._replace(
            values=table.values[:, kept],
            names=names,
            categories={name: table.categories[name] for name in names if name in table.categories},
        )
    refuse_constant_context(contexts["train"].values, columns)
    return rest, contexts, columns


def refuse_constant_context(context: Tensor, columns: ContextColumns) -> None:
    """Refuse a column of context that is the same in all rows of the training data.

    Args:
        context: context vectors, (rows, entries).
        columns: what the entries are.

    Raises:
        DataError: names the columns.
    """
    varies = (context != context[0]).any(0).tolist()
    changing = {name for name, changes in zip(columns.owners, varies, strict=True) if changes}
    constant = [name for name in columns.names if name not in changing]
    if constant:
        raise DataError(
            f"The training data has context that is constant: {listed(constant)}; nothing depends "
            "on it that could be learned: leave it out of context."
        )


def read_context(path: str, columns: ContextColumns | None, entries: int) -> tuple[Tensor, Table]:
    """Read rows of context from a file.

    Columns are matched by name where both the training data and the file have names, whatever
    else the file holds; else they are taken in their order.

    Args:
        path: .npy, .npz (with one array), .csv, .tsv or .parquet.
        columns: columns of the training data; None where they are not known.
        entries: number of entries of a context vector of the model.

    Returns:
        Context vectors (rows, entries), and the columns as they stand in the file.

    Raises:
        DataError: a file that cannot be used, another number of columns, or categories that the
            training data has not.
        ConfigError: a column that is not there.
    """
    content = next(iter(read_content(path, None).values()))
    if columns is None:
        table = as_table(content, path)
        columns = ContextColumns(table.names, {})
    else:
        table = _columns_of(content, path, columns)
    wanted = f"the model takes {entries} {'entry' if entries == 1 else 'entries'} of context"
    if table.values.ndim != 2 or len(columns.entries) != entries:
        raise DataError(
            f"{path} has {table.values.flatten(1).shape[1]} columns, which make "
            f"{len(columns.entries)} entries, and {wanted}; give one column for each."
        )
    values = table.values.clone()
    for name, own in table.categories.items():
        place = table.names.index(name)
        owner = f"Column {name} of {path}"
        values[:, place] = renumbered(values[:, place], own, columns.categories[name], owner)
    return columns.vectors(table._replace(values=values)), table


def _columns_of(content: object, path: str, columns: ContextColumns) -> Table:
    """The columns of context in a file, under the names of the training data."""
    own = tuple(map(str, getattr(content, "columns", ())))
    named = any(not name.isdecimal() for name in own)
    if named and any(not name.isdecimal() for name in columns.names):
        return as_table(
            content, path, columns=list(columns.names), categorical=list(columns.categories)
        )
    places = [place for place, name in enumerate(columns.names) if name in columns.categories]
    table = as_table(content, path, categorical=places)
    if len(table.names) != len(columns.names):
        raise DataError(
            f"{path} has {len(table.names)} columns; the context of the training data has "
            f"{len(columns.names)}: {listed(columns.names)}."
        )
    new = dict(zip(table.names, columns.names, strict=True))
    categories = {new[name]: labels for name, labels in table.categories.items()}
    return table._replace(names=columns.names, categories=categories)
