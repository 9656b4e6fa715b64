import pickle
import pickletools

import numpy as np
import pandas as pd
import pytest

from lightning_flows.core.errors import DataError
from lightning_flows.datamodules.readers.frames import read_old_frame

COLUMNS = {name: np.arange(7.0) ** power for power, name in enumerate("abcde")}


@pytest.mark.parametrize("manager_alone", [False, True])
def test_old_frames_are_read_in_order(tmp_path, write_old_frame, manager_alone):
    path = tmp_path / "x.pickle"
    write_old_frame(path, COLUMNS, manager_alone=manager_alone)
    read = read_old_frame(path)
    assert list(read) == list("abcde")
    for name, column in COLUMNS.items():
        np.testing.assert_array_equal(read[name], column)
        assert read[name].dtype == np.float64


def test_the_stand_in_is_what_current_pandas_refuses(tmp_path, write_old_frame):
    path = tmp_path / "x.pickle"
    write_old_frame(path, COLUMNS)
    names = {arg for op, arg, _ in pickletools.genops(path.read_bytes()) if op.name == "GLOBAL"}
    assert "pandas.indexes.numeric Int64Index" in names
    with pytest.raises(Exception, match=r"pandas\.indexes"):
        pd.read_pickle(path)


class Evil:
    def __reduce__(self):
        return eval, ("open('ran', 'w')",)


def test_nothing_runs_and_nothing_else_passes(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "x.pickle"
    path.write_bytes(pickle.dumps(Evil()))
    with pytest.raises(DataError, match=r"x\.pickle is no data frame.*builtins\.eval"):
        read_old_frame(path)
    assert not (tmp_path / "ran").exists()
    for content in (b"", b"not a pickle", pickle.dumps([1, 2])):
        path.write_bytes(content)
        with pytest.raises(DataError, match=r"x\.pickle is no data frame of numbers"):
            read_old_frame(path)
