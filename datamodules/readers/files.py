"""Arrays and tables from files, checked and with the names of their columns."""

import textwrap
from collections.abc import Callable, Collection, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from lightning_flows.core.errors import ConfigError, DataError, FlowError

from .categories import Labels, number_categories, places_of
from .formats import read_npy, read_npz, read_parquet, read_text
from .precision import LARGEST, as_numbers

__all__ = ["Table", "as_table", "read_content", "read_tables", "said"]


class Table(NamedTuple):
    """Rows of numbers.

    Args:
        values: (rows, *event_shape), float64 where float32 might not hold them, else float32.
        names: names of the columns where there are two dimensions, else empty.
        categories: what the numbers in columns of categories stand for, by the column's name.
        integers: names of the columns that are to be dequantized; for arrays that are no tables,
            not empty if they are.
        context: names of the columns that are context.
        all_names: names of all columns of the source, those that are not kept among them.
    """

    values: Tensor
    names: tuple[str, ...]
    categories: Mapping[str, Labels] = MappingProxyType({})
    integers: tuple[str, ...] = ()
    context: tuple[str, ...] = ()
    all_names: tuple[str, ...] = ()


def read_tables(
    path: str,
    *,
    key: str | None,
    columns: Sequence[int | str] | None,
    categorical: Sequence[int | str] = (),
    dequantize: Sequence[int | str] | bool = False,
    context: Sequence[int | str] = (),
) -> dict[str, Table]:
    """Read a file.

    Args:
        path: .npy, .npz, .csv, .tsv or .parquet.
        key: name of the array in an .npz file.
        columns: names or positions of the columns to keep; all by default.
        categorical: names or positions of columns of categories.
        dequantize: names or positions of columns of whole numbers, or whether all are.
        context: names or positions of columns that are context, which are kept in any case.

    Returns:
        "train" alone, or the splits that an .npz file holds under their names.

    Raises:
        DataError: a missing or unreadable file, or what `as_table` refuses.
        ConfigError: a key or column that is not there.
    """
    options: dict[str, Any] = {"columns": columns, "categorical": categorical}
    options |= {"dequantize": dequantize, "context": context}
    return {
        name: as_table(array, path, **options) for name, array in read_content(path, key).items()
    }


def read_content(path: str, key: str | None) -> dict[str, Any]:
    """Read a file as it is: data frames of tables with names, else arrays.

    Args:
        path: .npy, .npz, .csv, .tsv or .parquet.
        key: name of the array in an .npz file.

    Returns:
        "train" alone, or the splits that an .npz file holds under their names.

    Raises:
        DataError: a missing or unreadable file.
        ConfigError: a key that is not there.
    """
    file = Path(path)
    readers: dict[str, Callable[[Path], Any]] = {
        ".npy": read_npy,
        ".npz": lambda file: read_npz(file, key),
        ".csv": read_text,
        ".tsv": read_text,
        ".parquet": read_parquet,
    }
    suffix = file.suffix.lower()
    if suffix not in readers:
        raise DataError(f"{path} has an unknown extension; accepted are {', '.join(readers)}.")
    if key is not None and suffix != ".npz":
        raise ConfigError(f"key is {key!r}, but only .npz files have keys; came {path}.")
    if not file.is_file():
        raise DataError(f"There is no file {path}.")
    try:
        content = readers[suffix](file)
    except FlowError:
        raise
    except Exception as error:  # a damaged file raises whatever numpy, pandas or pyarrow has
        raise DataError(f"{path} cannot be read: {said(error)}.") from error
    return content if suffix == ".npz" else {"train": content}


def said(error: BaseException) -> str:
    """The first line of an error's message, cut where it is long; its kind if it says nothing."""
    lines = str(error).strip().splitlines() or [type(error).__name__]
    return textwrap.shorten(lines[0], 160, placeholder=" ...").rstrip(".")


def as_table(
    data: Any,
    owner: str,
    *,
    columns: Sequence[int | str] | None = None,
    categorical: Sequence[int | str] = (),
    dequantize: Sequence[int | str] | bool = False,
    context: Sequence[int | str] = (),
) -> Table:
    """Check an array, a tensor or a data frame and turn it into numbers.

    Args:
        data: rows along the first dimension.
        owner: what errors call it.
        columns: names or positions of the columns to keep; all by default.
        categorical: names or positions of columns of categories, text or numbers, which become
            numbers from 0 up in the order of the categories.
        dequantize: names or positions of columns of whole numbers, or whether all others are.
        context: names or positions of columns that are context, which are kept in any case.

    Raises:
        DataError: fewer than two dimensions, no rows, columns that are not numbers, or values
            that are not finite; the message names the columns or the row.
        ConfigError: a column that is not there.
    """
    names: tuple[str, ...] = ()
    whole_names: tuple[str, ...] = ()
    labels: dict[str, Labels] = {}
    if hasattr(data, "to_pandas"):  # tables of pyarrow and polars
        data = data.to_pandas()
    if categorical:
        data, labels = number_categories(data, owner, categorical)
    if hasattr(data, "columns"):  # a data frame; pandas need not be there otherwise
        if len(data) == 0:
            raise DataError(f"{owner} is empty: its shape is {tuple(data.shape)}.")
        names = whole_names = tuple(map(str, data.columns))
        twice = {name for name in names if names.count(name) > 1}
        if twice:
            raise DataError(f"{owner} has several columns of one name: {', '.join(sorted(twice))}.")
        text = [
            name for name, kind in zip(names, data.dtypes, strict=True) if kind.kind not in "iufb"
        ]
        if columns is not None:
            places = _kept(columns, context, names, owner)
            data, names = data.iloc[:, places], tuple(names[place] for place in places)
            text = [name for name in text if name in names]
        if not names:
            raise DataError(f"{owner} has no columns.")
        if text:
            raise DataError(
                f"{owner} has columns that are not numbers: {', '.join(text)}; leave them out with "
                "columns, or name them in categorical."
            )
        _refuse_index(data, owner)
        values, columns = _joined([data.iloc[:, i] for i in range(len(names))], owner, names), None
    else:
        values = as_numbers(data, owner)
    if values.ndim < 2:
        raise DataError(
            f"{owner} has shape {tuple(values.shape)}; expected are rows and columns, or rows of "
            "arrays."
        )
    if values.ndim == 2:
        if not names:
            names = whole_names = tuple(map(str, range(values.shape[1])))
        if columns is not None:
            places = _kept(columns, context, names, owner)
            values, names = values[:, places], tuple(names[place] for place in places)
    elif columns is not None:
        raise ConfigError(f"columns are for tables; {owner} has shape {tuple(values.shape)}.")
    if context and not names:
        raise ConfigError(f"context names columns; {owner} has shape {tuple(values.shape)}.")
    given = (
        [whole_names[place] for place in places_of(context, whole_names, owner)] if context else []
    )
    if values.numel() == 0:
        raise DataError(f"{owner} is empty: its shape is {tuple(values.shape)}.")
    accepted = (values.abs() <= LARGEST).flatten(1)  # false for NaN
    if not accepted.all():
        row, column = (~accepted).nonzero()[0].tolist()
        place = f"row {row}, column {names[column]}" if names else f"row {row}"
        raise DataError(
            f"{owner} holds NaN or infinite values, or some beyond {LARGEST:g}, first in {place}."
        )
    return Table(
        values,
        names,
        {name: labels[name] for name in names if name in labels},
        _integers(dequantize, names, whole_names, {"categorical": labels, "context": given}, owner),
        tuple(dict.fromkeys(given)),
        whole_names,
    )


def _kept(
    columns: Sequence[int | str],
    context: Sequence[int | str],
    names: Sequence[str],
    owner: str,
) -> list[int]:
    """Places of the columns that are asked for, and of context where it is not among them."""
    places = places_of(columns, names, owner)
    more = places_of(context, names, owner) if context else []
    return places + [p for p in more if p not in places]


def _integers(
    dequantize: Sequence[int | str] | bool,
    names: Sequence[str],
    whole_names: Sequence[str],
    others: Mapping[str, Collection[str]],
    owner: str,
) -> tuple[str, ...]:
    """Names of the columns to dequantize among those that are kept.

    Args:
        dequantize: the option.
        names: of the columns that are kept.
        whole_names: of all columns.
        others: columns that are not dequantized, by the option that names them.
        owner: what errors call the table.
    """
    if isinstance(dequantize, bool) or not dequantize:
        taken = {name for columns in others.values() for name in columns}
        real = tuple(name for name in names if name not in taken) if names else ("all",)
        return real if dequantize else ()
    if not names:
        raise ConfigError(f"dequantize names columns, and {owner} is no table; set it to true.")
    chosen = [whole_names[place] for place in places_of(dequantize, whole_names, owner)]
    for option, columns in others.items():
        both = [name for name in chosen if name in columns]
        if both:
            raise ConfigError(f"Columns {', '.join(both)} are in dequantize and in {option}.")
    return tuple(name for name in names if name in chosen)


def _refuse_index(table: Any, owner: str) -> None:
    """Refuse the row numbers that pandas writes, without a name, in front of a table."""
    first = str(table.columns[0])
    if first.startswith("Unnamed") and (table.iloc[:, 0] == np.arange(len(table))).all():
        raise DataError(
            f"{owner} has a first column without a name that numbers the rows; leave it out with "
            "columns, or write the table with index=False."
        )


def _joined(columns: Sequence[Any], owner: str, names: Sequence[str]) -> Tensor:
    """Columns of a data frame side by side; missing values become NaN."""
    parts = []
    for column, name in zip(columns, names, strict=True):
        missing = column.isna().any()
        array = column.to_numpy(dtype=np.float64, na_value=np.nan) if missing else column.to_numpy()
        parts.append(as_numbers(array[:, None], owner, [name])[:, 0])
    wide = torch.float64 if any(part.dtype == torch.float64 for part in parts) else torch.float32
    return torch.stack([part.to(wide) for part in parts], 1)
