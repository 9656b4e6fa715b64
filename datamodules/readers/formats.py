"""Files of arrays and tables, read without trust: sizes are checked before memory is taken.

What is damaged raises errors of whatever kind the library underneath has; `files.read_tables`
turns them into one sentence. Nothing is ever unpickled.
"""

import math
import warnings
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from lightning_flows.core.errors import ConfigError, DataError

__all__ = ["SPLITS", "read_npy", "read_npz", "read_parquet", "read_text"]

SPLITS = ("train", "val", "test")

_Array = np.ndarray[Any, np.dtype[Any]]
_HEADERS: dict[tuple[int, int], Callable[..., Any]] = {
    (1, 0): np.lib.format.read_array_header_1_0,
    (2, 0): np.lib.format.read_array_header_2_0,
}
_DEFLATED = 1032  # times that the best case of zip's compression makes smaller
_SUSPICIOUS = 200  # times: no table of measurements is so regular
_LARGE = 2**30  # bytes, from which that matters


def read_npy(file: Path) -> _Array:
    """Read an array from a .npy file.

    Raises:
        Exception: of any kind, where the file is damaged or claims more than it holds.
    """
    # a map of the file is refused where the file is shorter than its header says
    array: _Array = np.load(file, mmap_mode="r", allow_pickle=False)
    return array


def read_npz(file: Path, key: str | None) -> dict[str, _Array]:
    """Read the arrays that are asked for from a .npz file.

    Args:
        file: the file.
        key: name of an array; without one, "train", "val" and "test" where there is a "train", else
            the only array there is.

    Returns:
        Arrays by split; "train" alone where only one was asked for.

    Raises:
        ConfigError: the key is not there, or is needed.
        Exception: of any kind, where the file is damaged or claims more than it holds.
    """
    with zipfile.ZipFile(file) as archive:
        members = {name.removesuffix(".npy"): name for name in archive.namelist()}
        if key is not None and key in members:
            wanted = {"train": key}
        elif key is None and "train" in members:
            wanted = {name: name for name in SPLITS if name in members}
        elif key is None and len(members) == 1:
            wanted = {"train": next(iter(members))}
        else:
            need = "Name one with key" if key is None else f"There is no {key!r}"
            raise ConfigError(f"{file} holds the arrays {', '.join(members)}. {need}.")
        return {
            split: _read_member(archive, archive.getinfo(members[name]), file)
            for split, name in wanted.items()
        }


def read_text(file: Path) -> Any:
    """Read a table of commas (.csv) or tabs (.tsv), with a line of names or without.

    Raises:
        DataError: rows of different lengths, or another separator.
        Exception: of any kind, where it is no text.
    """
    import pandas as pd

    separator = "\t" if file.suffix.lower() == ".tsv" else ","
    options: dict[str, Any] = {"sep": separator, "comment": "#", "skipinitialspace": True}
    head = pd.read_csv(file, nrows=0, **options)
    first = str(head.columns[0])
    others = [other for other in (";", "\t", ",") if other != separator and other in first]
    if len(head.columns) == 1 and others:
        raise DataError(
            f"{file} has one column, {first!r}: it seems to be separated by {others[0]!r}; "
            "accepted are commas in .csv and tabs in .tsv."
        )
    named = not any(map(_is_number, head.columns))  # pandas makes repeated names unlike
    with warnings.catch_warnings():
        warnings.simplefilter("error", pd.errors.ParserWarning)  # that fields were dropped
        try:
            # unless told, pandas takes the first of too many fields for the name of the row
            return pd.read_csv(file, header=0 if named else None, index_col=False, **options)
        except pd.errors.ParserWarning as error:
            raise DataError(
                f"{file} has rows with more fields than its first line, which has "
                f"{len(head.columns)}."
            ) from error


def read_parquet(file: Path) -> Any:
    """Read a table of columns of numbers or text.

    Raises:
        DataError: pyarrow is not there.
        Exception: of any kind, where the file is damaged.
    """
    import pandas as pd

    try:
        return pd.read_parquet(file)
    except ImportError as error:
        raise DataError("Parquet files need pyarrow: pip install pyarrow.") from error


def _read_member(archive: zipfile.ZipFile, member: zipfile.ZipInfo, file: Path) -> _Array:
    """Read one array, if what its header says fits into what the archive says of it."""
    with archive.open(member) as stream:
        version = np.lib.format.read_magic(stream)
        if version not in _HEADERS:
            raise ValueError(f"{member.filename} has an unknown version, {version}")
        shape, _, dtype = _HEADERS[version](stream)
        needed = math.prod(shape) * dtype.itemsize
        if dtype.hasobject:
            raise ValueError(f"{member.filename} holds objects")
        held = member.file_size - stream.tell()
    packed = member.compress_size
    if needed > held or member.file_size > _DEFLATED * packed + 1024:
        raise ValueError(f"{member.filename} claims {needed} bytes, and holds fewer")
    if needed > max(_LARGE, _SUSPICIOUS * packed):
        raise DataError(
            f"{file} grows from {packed / 1e6:.3g} MB to {needed / 1e6:.3g} MB in memory; "
            "if that is meant, save the array with numpy.savez, without compression."
        )
    with archive.open(member) as stream:
        return np.lib.format.read_array(stream, allow_pickle=False)


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True
