"""Pickled data frames of old pandas, read without pandas and without running code in them.

Pandas 3 no longer reads what versions before 2.0 pickled, and reading a pickle the usual way may
run any code. Here a pickle may name numpy's arrays and pandas' classes, and nothing else; the
latter become mere boxes for what was stored in them.
"""

import pickle
from pathlib import Path
from typing import Any

import numpy as np

from lightning_flows.errors import DataError

__all__ = ["read_old_frame"]


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
        with path.open("rb") as stream:
            # latin1: how numpy reads arrays that Python 2 pickled
            frame = _Unpickler(stream, encoding="latin1").load()
        return _columns(frame)
    except Exception as error:  # half a pickle raises a dozen kinds
        raise DataError(
            f"{path} is no data frame of numbers that pandas 0.15 to 0.25 pickled: {error}"
        ) from error


class _Box:
    """An object of pandas: no more than the state it was given."""

    state: Any = None

    def __init__(self, *arguments: Any) -> None:
        """Take whatever the constructor took."""

    def __setstate__(self, state: Any) -> None:
        self.state = state


def _new_index(kind: Any, content: dict[str, Any]) -> Any:
    return content.get("data")


_KNOWN: dict[tuple[str, str], Any] = {
    ("numpy", "ndarray"): np.ndarray,
    ("numpy", "dtype"): np.dtype,
    ("builtins", "slice"): slice,
    ("__builtin__", "slice"): slice,
}


class _Unpickler(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        if (module, name) in _KNOWN:
            return _KNOWN[module, name]
        if module.startswith("numpy.") and name == "_reconstruct":
            return np.empty(0).__reduce__()[0]  # its module has moved since
        if (module, name) == ("_codecs", "encode"):  # bytes, the way Python 3 writes protocol 2
            return lambda text, encoding: text.encode("latin1")
        if module.split(".")[0] == "pandas":
            return _new_index if name == "_new_Index" else _Box
        raise pickle.UnpicklingError(f"it asks for {module}.{name}.")


def _columns(frame: Any) -> dict[str, np.ndarray]:
    if not isinstance(frame, _Box):
        raise TypeError(f"it holds a {type(frame).__name__}.")
    # the oldest frames have the manager of their blocks itself as state
    manager = frame.state["_data"] if isinstance(frame.state, dict) else frame.state
    content = manager.state[3]["0.14.1"]
    names = [str(name) for name in content["axes"][0]]
    columns = {}
    for block in content["blocks"]:
        places = np.arange(len(names))[block["mgr_locs"]]
        for place, values in zip(places, block["values"], strict=True):
            columns[names[place]] = np.asarray(values).astype(np.float64)
    return {name: columns[name] for name in names}
