"""Columns of categories: numbers from 0 up in place of text and codes."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from lightning_flows.core.errors import ConfigError, DataError

from .precision import as_numbers

__all__ = ["Labels", "number_categories", "places_of", "renumbered"]

Labels = tuple[Any, ...]
"""Categories in order: text, or numbers."""


def number_categories(
    data: Any, owner: str, categorical: Sequence[int | str]
) -> tuple[Any, dict[str, Labels]]:
    """Number the categories of some columns, in ascending order.

    Args:
        data: a data frame, an array or a tensor with rows and columns.
        owner: what errors call it.
        categorical: names or positions of the columns.

    Returns:
        The data with numbers in these columns, and their categories by the name of the column.

    Raises:
        DataError: no table, a missing value, or text in another column of an array.
        ConfigError: a column that is not there.
    """
    labels: dict[str, Labels] = {}
    if hasattr(data, "columns"):
        names = tuple(map(str, data.columns))
        data = data.copy()
        for place in places_of(categorical, names, owner):
            column = data.iloc[:, place]
            labels[names[place]], codes = _numbered(
                column.to_numpy(), column.isna().to_numpy(), owner, names[place]
            )
            data.isetitem(place, codes)
        return data, labels
    if isinstance(data, Tensor):  # numpy lacks some types of torch, and none of whole numbers
        exact = not (data.is_floating_point() or data.is_complex())
        array = (data if exact else as_numbers(data, owner)).numpy(force=True)
    else:
        array = np.asarray(data)
    if array.ndim != 2:
        raise DataError(f"{owner} has shape {array.shape}; categorical columns are for tables.")
    names = tuple(map(str, range(array.shape[1])))
    numbers = array.astype(object)
    for place in places_of(categorical, names, owner):
        column = array[:, place]
        missing = np.array([value is None or value != value for value in column])
        labels[names[place]], numbers[:, place] = _numbered(column, missing, owner, names[place])
    try:
        return numbers.astype(np.float64), labels
    except (TypeError, ValueError) as error:
        raise DataError(
            f"{owner} has text in columns that are not categorical: {error}."
        ) from error


def renumbered(codes: Tensor, own: Labels, labels: Labels, owner: str) -> Tensor:
    """Numbers of categories of one table, (rows,), as numbers of those of another.

    Raises:
        DataError: a category that the other table does not have.
    """
    unknown = [label for label in own if label not in labels]
    if unknown:
        raise DataError(f"{owner} has categories that the training data has not: {unknown}.")
    places = torch.tensor([labels.index(label) for label in own])
    return places[codes.long()].to(codes.dtype)


def places_of(
    columns: Sequence[int | str] | int | str, names: Sequence[str], owner: str
) -> list[int]:
    """Positions of columns that are named or counted.

    Raises:
        ConfigError: a column that is not there, or an empty list.
    """
    places = []
    for column in [columns] if isinstance(columns, str | int) else columns:
        if isinstance(column, int) and not isinstance(column, bool) and 0 <= column < len(names):
            places.append(column)
        elif isinstance(column, str) and column in names:
            places.append(names.index(column))
        else:
            raise ConfigError(f"{owner} has no column {column!r}; there are {', '.join(names)}.")
    if not places:
        raise ConfigError("columns is an empty list; leave it out to keep all.")
    return places


def _numbered(values: Any, missing: Any, owner: str, name: str) -> tuple[Labels, Any]:
    if missing.any():
        raise DataError(
            f"{owner} has missing values, first in row {int(missing.argmax())}, column {name}."
        )
    if values.dtype.kind not in "iufb":  # objects, which may be numbers all the same
        values = np.array(values.tolist())
    if values.dtype.kind not in "iufb":
        values = values.astype(str)
    found, codes = np.unique(values, return_inverse=True)
    return tuple(found.tolist()), codes
