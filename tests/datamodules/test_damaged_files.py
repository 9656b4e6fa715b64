"""Damaged and hostile files end in one sentence that names them, quickly and in little memory."""

import gzip
import resource
import sys
import time
import warnings
import zipfile
from io import BytesIO

import numpy as np
import pandas as pd
import pytest
import torch

from damaged import damage, read, write_all
from image_files import write_images
from lightning_flows.core.errors import DataError, FlowError
from lightning_flows.datamodules import MNIST, Arrays
from lightning_flows.datamodules.readers import formats as readers
from lightning_flows.datamodules.readers.idx import read_idx

NAMES = ["x.npy", "long.npy", "x.npz", "packed.npz", "x.csv", "x.tsv", "x.parquet",
         "images-ubyte", "packed-ubyte.gz", "x.pickle"]  # fmt: skip
X = np.random.default_rng(0).normal(size=(20, 3))


def memory():
    """The most that this process has held, in megabytes."""
    most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return most / (2**20 if sys.platform == "darwin" else 2**10)


def survive(folder, name, seeds):
    """Read damaged copies of a file; returns how many could be read all the same."""
    content = (folder / name).read_bytes()
    read_at_all, start, before = 0, time.monotonic(), memory()
    for seed in seeds:
        (folder / name).write_bytes(damage(content, seed))
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            try:
                read(folder / name)
                read_at_all += 1
            except FlowError as error:
                message = str(error)
                assert "\n" not in message, (name, seed, message)
                assert len(message) < 700, (name, seed, message)
            except Exception as error:
                raise AssertionError(f"{name} damaged with seed {seed}") from error
    assert time.monotonic() - start < 2 + 0.2 * len(seeds)
    assert memory() - before < 200
    return read_at_all


@pytest.mark.parametrize("name", NAMES)
def test_damaged_files_raise_nothing_else(tmp_path, write_old_frame, name):
    write_all(tmp_path, write_old_frame)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        read(tmp_path / name)  # whole
    assert survive(tmp_path, name, range(40)) < 40


@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES)
def test_damaged_files_raise_nothing_else_in_many_ways(tmp_path, write_old_frame, name):
    write_all(tmp_path, write_old_frame)
    survive(tmp_path, name, range(1000, 5000))


def header(shape, descr="<f8"):
    """A .npy file that claims a shape, and holds eight bytes."""
    stream = BytesIO()
    np.lib.format.write_array_header_1_0(
        stream, {"descr": descr, "fortran_order": False, "shape": shape}
    )
    return stream.getvalue() + b"\0" * 8


def archive(path, content, **options):
    with zipfile.ZipFile(path, "w", **options) as members:
        members.writestr("data.npy", content)


def test_sizes_are_compared_with_the_file_before_memory_is_taken(tmp_path, monkeypatch):
    before = memory()
    (tmp_path / "x.npy").write_bytes(header((10**11, 3)))
    archive(tmp_path / "x.npz", header((10**11, 3)))
    archive(tmp_path / "packed.npz", header((10**11, 3)), compression=zipfile.ZIP_DEFLATED)
    for name in ("x.npy", "x.npz", "packed.npz"):
        with pytest.raises(DataError, match=rf"{name} cannot be read: \S+"):
            Arrays(str(tmp_path / name))
    monkeypatch.setattr(readers, "_LARGE", 2**20)
    zeros = header((2**20, 1))[:-8] + bytes(2**23)  # which a zip file holds in eight kilobytes
    archive(tmp_path / "bomb.npz", zeros, compression=zipfile.ZIP_DEFLATED)
    with pytest.raises(DataError, match=r"bomb\.npz grows from 0\.\d+ MB to 8\.39 MB .*savez"):
        Arrays(str(tmp_path / "bomb.npz"))
    generator = np.random.default_rng(0)  # one number in 200 is not zero: about 100 times
    sparse = np.where(generator.random(2**22) < 0.005, generator.random(2**22), 0).astype("<f4")
    archive(
        tmp_path / "sparse.npz",
        header((2**22, 1), "<f4")[:-8] + sparse.tobytes(),
        compression=zipfile.ZIP_DEFLATED,
    )
    assert 20 < 2**24 / (tmp_path / "sparse.npz").stat().st_size < 200
    assert np.array_equal(readers.read_npz(tmp_path / "sparse.npz", None)["train"][:, 0], sparse)
    sides = b"".join(n.to_bytes(4, "big") for n in (2**31, 2**31, 2**31))
    for content in (b"\0\0\x08\3" + sides + b"0", b"\0\0\x08\xff" + b"\xff" * 2000):
        (tmp_path / "a").write_bytes(content)
        (tmp_path / "b.gz").write_bytes(gzip.compress(content))
        for name in "ab":
            with pytest.raises(DataError, match="not an idx file of bytes, or it is cut off"):
                read_idx(tmp_path / name)
    assert memory() - before < 200


class Evil:
    def __reduce__(self):
        return open, ("ran", "w")


def test_objects_are_never_unpickled(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    evil = np.array([[Evil()]], dtype=object)
    np.save("x.npy", evil, allow_pickle=True)
    np.savez("x.npz", data=evil)
    for name in ("x.npy", "x.npz"):
        with pytest.raises(DataError, match=rf"{name} cannot be read: .*(?i:objects)"):
            Arrays(name)
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("x.npy", b"", r"x\.npy cannot be read: "),
        ("x.parquet", b"PAR1 and no more", r"x\.parquet cannot be read: "),
        ("x.csv", b"", r"x\.csv cannot be read: No columns"),
        ("x.csv", b"a,b\n", r"x\.csv is empty: its shape is \(0, 2\)"),
        ("x.csv", b"a,b\n1,2\n3,4,5\n", r"x\.csv cannot be read: .*Expected 2 fields in line 3"),
        ("x.csv", b"a,b\n0,1,2\n1,3,4\n", r"x\.csv has rows with more fields .*, which has 2"),
        ("x.csv", b"a,b\n1,5,2,5\n", r"x\.csv has rows with more fields than its first line"),
        ("x.csv", b"a,b\n1,2\n3\n", r"x\.csv holds NaN .* first in row 1, column b"),
        ("x.csv", b"a;b\n1;2\n", r"one column, 'a;b': it seems to be separated by ';'; accepted"),
        ("x.csv", b"a\tb\n1\t2\n", r"one column, 'a\\tb': it seems to be separated"),
        ("x.tsv", b"a,b\n1,2\n", r"one column, 'a,b': it seems to be separated by ','"),
        ("x.csv", b"a;b\n1,5;2,5\n", r"one column, 'a;b': it seems to be separated by ';'"),
        ("x.csv", b'a,b\n"1,234",2\n"5,678",3\n', r"columns that are not numbers: a"),
        ("x.csv", "é,b\n1,2\n".encode("latin-1"), r"x\.csv cannot be read: 'utf-8' codec"),
        ("x.csv", "a,b\n1,2\n".encode("utf-16"), r"x\.csv cannot be read: 'utf-8' codec"),
        ("x.xls", b"", r"x\.xls has an unknown extension; accepted are \.npy"),
    ],
)
def test_tables_of_another_form(tmp_path, name, content, message):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(DataError, match=message):
        Arrays(str(tmp_path / name))


def test_tables_that_look_odd_and_are_right(tmp_path):
    text = "a,b,a\n1,2.5,3\n4,5.5,7\n7,8.25,1\n"
    for name, content in [
        ("mark.csv", b"\xef\xbb\xbf" + text.encode()),  # a byte order mark
        ("quoted.csv", text.replace("a,b,a", '"a","b","a"').encode()),
        ("windows.CSV", text.replace("\n", "\r\n").encode()),
        ("ends.csv", b"a,b,a\n1,2.5,3,\n4,5.5,7,\n7,8.25,1,\n"),
        ("spaces.csv", text.replace(",", ", ").encode()),
    ]:
        (tmp_path / name).write_bytes(content)
        data = Arrays(str(tmp_path / name), validation=0.0, test=0.0)
        data.setup()
        assert data.column_names == ("a", "b", "a.1")
        assert data.train_dataloader().dataset.tensors["x"].sum() == 39.25


def test_row_numbers_are_no_data(tmp_path):
    path = str(tmp_path / "x.csv")
    pd.DataFrame(X, columns=["a", "b", "c"]).to_csv(path)
    with pytest.raises(DataError, match="without a name that numbers the rows; leave it out with"):
        Arrays(path)
    assert Arrays(path, columns=["a", "b", "c"]).event_shape == (3,)
    with pytest.raises(DataError, match="data has no columns"):
        Arrays(data=pd.DataFrame(index=[1, 2]))


def test_other_things_than_tables(tmp_path):
    (tmp_path / "folder.npy").mkdir()
    with pytest.raises(DataError, match=r"There is no file .*folder\.npy"):
        Arrays(str(tmp_path / "folder.npy"))
    pd.DataFrame({"a": [[1, 2], [3]], "b": [1, 2]}).to_parquet(tmp_path / "nested.parquet")
    with pytest.raises(DataError, match=r"nested\.parquet has columns that are not numbers: a"):
        Arrays(str(tmp_path / "nested.parquet"))
    raw = write_images(tmp_path, "MNIST", train=6, t10k=6)
    labels = raw / "train-labels-idx1-ubyte"
    whole = labels.read_bytes()
    for content, message in [
        (whole[:-1], r"MNIST is not complete .*train-labels-idx1-ubyte is not an idx file"),
        (b"\0\0\x08\1\0\0\0\5" + bytes(5), r"shapes \(6, 28, 28\) and \(5,\); expected"),
        (b"\0\0\x08\1\0\0\0\0", r"train-labels-idx1-ubyte is empty: its shape is \(0,\)"),
    ]:
        labels.write_bytes(content)
        data = MNIST(str(tmp_path), validation=2)
        data.prepare_data()
        with pytest.raises(DataError, match=message):
            data.setup()
    labels.write_bytes(whole)
    data = MNIST(str(tmp_path), validation=2)
    data.setup()
    assert torch.equal(data.test_dataloader().tensors["label"], torch.arange(6))
