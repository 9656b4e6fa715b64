import os
import pickle
import shutil
from typing import ClassVar

import numpy as np
import pytest


@pytest.fixture(scope="session")
def real_images(tmp_path_factory):
    """A writable copy of MNIST, Fashion-MNIST and notMNIST from the folder LIGHTNING_FLOWS_DATA."""
    source = os.environ.get("LIGHTNING_FLOWS_DATA")
    if source is None:
        pytest.skip("LIGHTNING_FLOWS_DATA is not set")
    folder = tmp_path_factory.mktemp("images")
    for name in ("MNIST", "FashionMNIST", "notMNIST"):
        shutil.copytree(f"{source}/{name}/raw", folder / name / "raw")
    return str(folder)


class _Written:
    """Writes itself into a pickle under another name than its own."""

    def __init__(self, module, name, state=None):
        self.module, self.name, self.state = module, name, state


class _Index(tuple):
    """Class and content of an index."""


class _OldPickler(pickle._Pickler):
    """Pickles as Python 2 and the pandas of its time did: global names, strings of bytes."""

    dispatch: ClassVar = dict(pickle._Pickler.dispatch)

    def save_written(self, obj):
        self.write(pickle.GLOBAL + f"{obj.module}\n{obj.name}\n".encode())
        if obj.state is not None:
            self.save(())
            self.write(pickle.NEWOBJ)
            self.save(obj.state)
            self.write(pickle.BUILD)

    def save_index(self, obj):
        kind, content = obj
        self.save_written(_Written("pandas.indexes.base", "_new_Index"))
        self.save((kind, content))
        self.write(pickle.REDUCE)

    def save_bytes(self, obj):
        self.write(pickle.BINSTRING + len(obj).to_bytes(4, "little") + obj)

    def save_array(self, obj):
        self.save_written(_Written("numpy.core.multiarray", "_reconstruct"))
        self.save((np.ndarray, (0,), b"b"))
        self.write(pickle.REDUCE)
        version, shape, dtype, fortran, content = obj.__reduce__()[2]
        self.save((version, shape, dtype, fortran, content))
        self.write(pickle.BUILD)

    dispatch[_Written] = save_written
    dispatch[_Index] = save_index
    dispatch[bytes] = save_bytes
    dispatch[np.ndarray] = save_array


@pytest.fixture
def write_old_frame():
    """Writes columns the way pandas 0.19 of Python 2 pickled a data frame."""

    def write(path, columns, *, manager_alone=False):
        names = np.array([name.encode() for name in columns], dtype=object)
        values = np.stack(list(columns.values()))
        rows = np.arange(values.shape[1])
        axes = [
            _Index((_Written("pandas.indexes.base", "Index"), {b"data": names, b"name": None})),
            _Index((_Written("pandas.indexes.numeric", "Int64Index"), {b"data": rows})),
        ]
        # two blocks of columns, placed by a slice and by numbers
        half = len(columns) // 2
        places = np.arange(half, len(columns))
        blocks = [
            {b"values": values[:half], b"mgr_locs": slice(0, half, 1)},
            {b"values": np.asfortranarray(values[half:]), b"mgr_locs": places},
        ]
        content = {b"axes": axes, b"blocks": blocks}
        state = (axes, [], [], {b"0.14.1": content})
        manager = _Written("pandas.core.internals", "BlockManager", state)
        whole = {b"_data": manager, b"_metadata": [], b"_typ": b"dataframe"}
        frame = _Written("pandas.core.frame", "DataFrame", manager if manager_alone else whole)
        with open(path, "wb") as stream:
            _OldPickler(stream, protocol=2).dump(frame)

    return write
