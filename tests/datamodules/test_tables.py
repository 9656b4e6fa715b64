"""The five tables on stand-ins: random files of their layout, preprocessed by hand beside them."""

import hashlib
import sys
import tarfile
from functools import partial

import lightning as L
import numpy as np
import pytest
import torch

from lightning_flows import DensityModule, RealNVP
from lightning_flows.core.errors import ConfigError, DataError
from lightning_flows.datamodules import BSDS300, GAS, HEPMASS, MINIBOONE, POWER, tables

N = 230


def write_power(folder, rng, _):
    np.save(folder / "power/data.npy", rng.normal(3, 2, (N, 8)))


def write_gas(folder, rng, write_old_frame):
    base = rng.normal(size=(8, N))
    near = base + 0.001 * rng.normal(size=(8, N))  # a like of each column, correlation above 0.98
    columns = {"Time": np.arange(N) / 100.0, "Meth": rng.random(N), "Eth": rng.random(N)}
    columns |= {f"s{i}": 5 + 2 * values for i, values in enumerate(np.concatenate([base, near]))}
    write_old_frame(folder / "gas/ethylene_CO.pickle", columns)


def write_hepmass(folder, rng, _):
    for name, extra in (("train", ""), ("test", ",mass")):
        rows = rng.normal(2, 3, (N, 27))
        rows[:, 5:11] = rng.integers(0, 3, (N, 6))  # columns of few values
        label = np.arange(N) % 2
        for column, times in ((20, 5), (10, 6)):  # the smallest five times: stays; six: goes
            rows[:, column] = rng.normal(size=N)
            least = np.sort(rows[label == 1, column])[times - 1]
            rows[:, column] = np.maximum(rows[:, column], least)
        header = "# label," + ",".join(f"f{i}" for i in range(27)) + extra
        lines = (
            ",".join(map(repr, [float(y), *x.tolist()])) for y, x in zip(label, rows, strict=True)
        )
        (folder / f"hepmass/1000_{name}.csv").write_text("\n".join([header, *lines]) + "\n")


def write_miniboone(folder, rng, _):
    np.save(folder / "miniboone/data.npy", rng.normal(-1, 5, (N, 43)))


def write_bsds300(folder, rng, _):
    h5py = pytest.importorskip("h5py")
    with h5py.File(folder / "BSDS300/BSDS300.hdf5", "w") as file:
        for name, rows in (("train", 50), ("validation", 20), ("test", 30)):
            file[name] = rng.normal(0, 0.1, (rows, 63)).astype(np.float32)


WRITERS = {
    POWER: write_power,
    GAS: write_gas,
    HEPMASS: write_hepmass,
    MINIBOONE: write_miniboone,
    BSDS300: write_bsds300,
}


@pytest.fixture
def folder_of(tmp_path, write_old_frame):
    """Makes a folder with the stand-in of a table."""

    def make(kind):
        for name in kind.files:
            (tmp_path / name).parent.mkdir(exist_ok=True)
        WRITERS[kind](tmp_path, np.random.default_rng(0), write_old_frame)
        return tmp_path

    return make


def splits(data):
    data.prepare_data()
    data.setup()
    loaders = data.train_dataloader(), data.val_dataloader(), data.test_dataloader()
    return [loader.dataset.tensors["x"].numpy() for loader in loaders]


@pytest.mark.parametrize(
    ("kind", "features", "rows"),
    [
        (POWER, 6, [187, 20, 23]),
        (GAS, 8, [187, 20, 23]),
        (HEPMASS, 21, [104, 11, 115]),
        (MINIBOONE, 43, [187, 20, 23]),
        (BSDS300, 63, [50, 20, 30]),
    ],
)
def test_shapes_before_and_rows_after_setup(folder_of, kind, features, rows):
    assert kind().event_shape == (features,)
    data = kind(str(folder_of(kind)))
    parts = splits(data)
    assert [part.shape for part in parts] == [(n, features) for n in rows]
    assert {part.dtype for part in parts} == {np.dtype(np.float32)}
    assert data.preprocess is None
    if kind is not BSDS300:
        assert np.allclose(np.concatenate(parts[:2]).mean(0), 0, atol=0.4 if kind is GAS else 1e-5)
    few = kind(data.data_dir, limit=7)
    few_parts = splits(few)
    assert np.array_equal(few_parts[0], parts[0][:7])
    assert np.array_equal(few_parts[2], parts[2])


def test_power_is_shuffled_and_blurred_as_published(folder_of):
    folder = folder_of(POWER)
    x = np.load(folder / "power/data.npy")
    rng = np.random.RandomState(42)
    rng.shuffle(x)  # in place, row by row, as the paper's authors did
    voltage, active, meters = 0.01 * rng.rand(N, 1), 0.001 * rng.rand(N, 1), rng.rand(N, 3)
    x = np.delete(x, [1, 3], axis=1) + np.hstack([active, voltage, meters, np.zeros((N, 1))])
    x = (x - x[:207].mean(0)) / x[:207].std(0)
    for part, expected in zip(splits(POWER(str(folder))), np.split(x, [187, 207]), strict=True):
        np.testing.assert_allclose(part, expected, atol=1e-5)


def test_gas_loses_the_first_of_each_pair_and_takes_statistics_of_all(folder_of):
    parts = np.concatenate(splits(GAS(str(folder_of(GAS)))))
    assert np.allclose(parts.mean(0), 0, atol=1e-5)
    assert np.allclose(parts.std(0, ddof=1), 1, atol=1e-5)
    rng = np.random.default_rng(0)
    base = rng.normal(size=(8, N))
    second = base + 0.001 * rng.normal(size=(8, N))
    assert np.allclose(parts, ((second.T - second.mean(1)) / second.std(1, ddof=1)), atol=1e-4)


def test_gas_keeps_one_of_a_chain_of_likes(tmp_path, write_old_frame):
    rng = np.random.default_rng(0)
    steps = rng.normal(size=(3, N)) * [[1.0], [0.15], [0.15]]
    a, b, c = np.cumsum(steps, 0)  # a like b, b like c, a unlike c
    likes = np.corrcoef([a, b, c])
    assert likes[0, 1] > 0.98 > likes[0, 2]
    assert likes[1, 2] > 0.98
    others = {f"s{i}": rng.normal(size=N) for i in range(7)}
    dropped = {"Time": a * 0 + b, "Meth": a, "Eth": b}
    (tmp_path / "gas").mkdir()
    write_old_frame(
        tmp_path / "gas/ethylene_CO.pickle", dropped | {"a": a, "b": b, "c": c} | others
    )
    first = np.concatenate(splits(GAS(str(tmp_path))))[:, 0]  # a goes for b, then b for c
    assert np.allclose(first, (c - c.mean()) / c.std(ddof=1), atol=1e-4)


def test_hepmass_keeps_signal_and_columns_whose_smallest_value_is_rare(folder_of):
    folder = folder_of(HEPMASS)
    known, test = (np.loadtxt(folder / name, delimiter=",", skiprows=1) for name in HEPMASS.files)
    places = [1 + i for i in range(27) if not 5 <= i < 11]
    known, test = (rows[rows[:, 0] == 1][:, places] for rows in (known, test))
    train, val, held_out = splits(HEPMASS(str(folder)))
    mean, std = known.mean(0), known.std(0, ddof=1)
    np.testing.assert_allclose(np.concatenate([train, val]), (known - mean) / std, atol=1e-5)
    np.testing.assert_allclose(held_out, (test - mean) / std, atol=1e-5)


def test_miniboone_and_bsds300_keep_their_order(folder_of):
    folder = folder_of(MINIBOONE)
    x = np.load(folder / "miniboone/data.npy")
    x = (x - x[:207].mean(0)) / x[:207].std(0)
    np.testing.assert_allclose(np.concatenate(splits(MINIBOONE(str(folder)))), x, atol=1e-5)
    folder = folder_of(BSDS300)
    h5py = pytest.importorskip("h5py")
    with h5py.File(folder / "BSDS300/BSDS300.hdf5") as file:
        names = ("train", "validation", "test")
        for part, name in zip(splits(BSDS300(str(folder))), names, strict=True):
            np.testing.assert_array_equal(part, file[name][:])


@pytest.fixture
def archive(folder_of, tmp_path, monkeypatch):
    """The archive of MINIBOONE and HEPMASS in an empty folder, with the MD5 that is expected."""
    for kind in (MINIBOONE, HEPMASS):
        folder_of(kind)
    target = tmp_path / "empty"
    target.mkdir()
    with tarfile.open(target / "data.tar.gz", "w:gz") as members:
        for name in ("miniboone", "hepmass"):
            members.add(tmp_path / name, f"data/{name}")
    digest = hashlib.md5((target / "data.tar.gz").read_bytes()).hexdigest()
    monkeypatch.setattr(tables, "_MD5", digest)
    monkeypatch.setattr(tables, "_URL", "http://127.0.0.1:9/data.tar.gz")  # nobody listens
    return target


def test_an_archive_at_hand_is_unpacked_without_network(archive):
    first = splits(MINIBOONE(str(archive)))
    assert not (archive / "hepmass").exists()
    assert [len(part) for part in splits(HEPMASS(str(archive)))] == [104, 11, 115]
    (archive / "data.tar.gz").unlink()  # not needed any more
    assert np.array_equal(splits(MINIBOONE(str(archive)))[0], first[0])


def test_what_is_there_is_never_written_over(archive, monkeypatch):
    (archive / "hepmass").mkdir()
    (archive / "hepmass/1000_test.csv").write_text("mine")
    HEPMASS(str(archive)).prepare_data()
    assert (archive / "hepmass/1000_test.csv").read_text() == "mine"
    assert (archive / "hepmass/1000_train.csv").exists()
    monkeypatch.setattr(tables, "_MD5", "0")
    with pytest.raises(DataError, match=r"data\.tar\.gz has MD5 .* is 0: move the file away"):
        MINIBOONE(str(archive)).prepare_data()
    assert (archive / "data.tar.gz").stat().st_size > 1000


@pytest.mark.parametrize("kind", [POWER, GAS, HEPMASS, MINIBOONE])
def test_offline_and_unprepared(kind, tmp_path, monkeypatch):
    monkeypatch.setattr(tables, "_URL", "http://127.0.0.1:9/data.tar.gz")
    folder = str(tmp_path / "nowhere")
    with pytest.raises(DataError, match=r"nowhere/data\.tar\.gz could not be downloaded .*online"):
        kind(folder).prepare_data()
    with pytest.raises(DataError, match=rf"{kind.__name__} lacks .* and prepare_data has not run"):
        kind(folder).setup()


def test_bsds300_says_what_it_needs(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "h5py", None)
    with pytest.raises(DataError, match=r"BSDS300 needs h5py: pip install lightning-flows\[hdf5\]"):
        BSDS300(str(tmp_path)).prepare_data()


@pytest.mark.parametrize("kind", [*WRITERS])
def test_damaged_files_are_named(kind, tmp_path):
    if kind is BSDS300:
        pytest.importorskip("h5py")
    for name in kind.files:
        (tmp_path / name).parent.mkdir(exist_ok=True)
        for content in (b"", b"nonsense\nnonsense"):
            for other in kind.files:
                (tmp_path / other).write_bytes(content)
            with pytest.raises(DataError, match=kind.files[0].split(".")[0]):
                kind(str(tmp_path)).setup()


def test_files_of_another_layout(tmp_path):
    (tmp_path / "miniboone").mkdir()
    path = tmp_path / "miniboone/data.npy"
    x = np.random.default_rng(0).normal(size=(50, 43))
    for content, message in [
        (x[:, :9], r"events of shape \(9,\); expected is \(43,\)"),
        (np.where(np.arange(43) == 3, 7.0, x), "columns 3 are constant"),
        (np.where(x == x[4, 4], np.nan, x), "NaN"),
    ]:
        np.save(path, content)
        with pytest.raises(DataError, match=message):
            MINIBOONE(str(tmp_path)).setup()
    with pytest.raises(ConfigError, match="limit is 0"):
        POWER(limit=0)


@pytest.mark.filterwarnings("ignore:.*LeafSpec.* is deprecated:FutureWarning")  # by Lightning
def test_a_flow_reports_nats_of_standardized_rows(folder_of):
    data = POWER(str(folder_of(POWER)), batch_size=64)
    module = DensityModule(partial(RealNVP, layers=1, hidden=(8,)), data.event_shape)
    trainer = L.Trainer(
        max_epochs=1, logger=False, enable_checkpointing=False, enable_progress_bar=False,
        enable_model_summary=False, log_every_n_steps=1, accelerator="cpu",
    )  # fmt: skip
    trainer.fit(module, data)
    x = data.test_dataloader().dataset.tensors["x"]
    with torch.no_grad():
        assert torch.equal(module.log_prob(x), module.flow.log_prob(x))
