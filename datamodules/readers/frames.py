"""Pickled data frames of old pandas, read without pandas and without running code in them.

Pandas 3 no longer reads what versions before 2.0 pickled, and reading a pickle the usual way may
run any code. Here a pickle may name numpy's arrays and pandas' classes, and nothing else; they
become mere boxes for what was stored in them, from which arrays are made with sizes checked.
"""

import io
import pickle
from pathlib import Path
from typing import Any

import numpy as np

from lightning_flows.core.errors import DataError

__all__ = ["read_old_frame"]

_OF_NUMPY = {("numpy", "ndarray"), ("numpy", "dtype")}


def read_old_frame(path: Path) -> dict[str, np.ndarray]:
    """Read the columns of a data frame that pandas before 1.0 pickled.

    Tried on pickles of pandas 0.15 to 0.19, from Python 2 and 3.

    Args:
        path: the file; the frame holds numbers alone.

    Returns:
        The columns (rows,) by their names, in the frame's order and float64.

    Raises:
        DataError: it cannot be read, is no such frame, or names what no frame needs.
    """
    try:
        # latin1: how arrays that Python 2 pickled are read
        frame = _Unpickler(io.BytesIO(path.read_bytes()), encoding="latin1").load()
        return _columns(frame)
    except Exception as error:  # half a pickle raises a dozen kinds
        raise DataError(
            f"{path} is no data frame of numbers that pandas 0.15 to 0.25 pickled: {error}"
        ) from error


class _Box:
    """An object of pandas or numpy: no more than what it was made of and the state it was given."""

    state: Any = None

    def __init__(self, *arguments: Any) -> None:
        self.arguments = arguments

    def __setstate__(self, state: Any) -> None:
        self.state = state


class _Unpickler(pickle._Unpickler):
    """Pickle's reader in Python: the one in C takes memory for whatever number a file names."""

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) in {("builtins", "slice"), ("__builtin__", "slice")}:
            return slice
        if (module, name) == ("_codecs", "encode"):  # bytes, the way Python 3 writes protocol 2
            return lambda text, encoding: text.encode("latin1")
        if module.split(".")[0] == "pandas" and name == "_new_Index":
            return lambda kind, content: content.get("data")
        if module.split(".")[0] == "pandas" or (module, name) in _OF_NUMPY:
            return _Box
        if module.startswith("numpy.") and name == "_reconstruct":
            return _Box
        raise pickle.UnpicklingError(f"it asks for {module}.{name}")


def _array(box: Any) -> np.ndarray[Any, Any]:
    """The array that was pickled; numpy's own way back trusts what it reads."""
    _, shape, kind, fortran, content = box.state
    (code, *_), (_, order, *_) = kind.arguments, kind.state
    if code.startswith("O"):
        return np.array(content, dtype=object).reshape(shape)
    dtype = np.dtype(f"{'' if order == '|' else order}{code}")
    data = content.encode("latin1") if isinstance(content, str) else content
    return np.frombuffer(data, dtype).reshape(shape, order="F" if fortran else "C")


def _columns(frame: Any) -> dict[str, np.ndarray]:
    if not isinstance(frame, _Box):
        raise TypeError(f"it holds a {type(frame).__name__}.")
    # the oldest frames have the manager of their blocks itself as state
    manager = frame.state["_data"] if isinstance(frame.state, dict) else frame.state
    content = manager.state[3]["0.14.1"]
    names = [str(name) for name in _array(content["axes"][0])]
    columns = {}
    for block in content["blocks"]:
        where = block["mgr_locs"]
        places = np.arange(len(names))[where if isinstance(where, slice) else _array(where)]
        for place, values in zip(places, _array(block["values"]), strict=True):
            columns[names[place]] = np.asarray(values).astype(np.float64)
    return {name: columns[name] for name in names}
