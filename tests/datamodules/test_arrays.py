import numpy as np
import pandas as pd
import pytest
import torch
from jsonargparse import ArgumentParser
from lightning import LightningDataModule

from lightning_flows.core.errors import ConfigError, DataError
from lightning_flows.datamodules import Arrays, split_indices

RNG = np.random.default_rng(0)
TABLE = RNG.normal(5, 3, (50, 3))
FRAME = pd.DataFrame(TABLE, columns=["a", "b", "c"])


def write(folder, name, content=TABLE):
    path = str(folder / name)
    if name.endswith(".npy"):
        np.save(path, content)
    elif name.endswith(".npz"):
        np.savez(path, **content)
    elif name.endswith(".parquet"):
        content.to_parquet(path)
    else:
        (folder / name).write_text(content)
    return path


def tensors(data):
    data.setup("fit")
    loaders = data.train_dataloader(), data.val_dataloader(), data.test_dataloader()
    return [loader.dataset.tensors["x"] for loader in loaders]


def in_order(x):
    return x[x[:, 0].argsort()]


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("x.npy", TABLE),
        ("x.npy", TABLE.astype(">f8")),
        ("x.npz", {"only": TABLE}),
        ("x.csv", FRAME.to_csv(index=False)),
        ("x.csv", "# a remark\n" + FRAME.to_csv(index=False, header=False)),
        ("x.tsv", FRAME.to_csv(index=False, sep="\t")),
        ("x.parquet", FRAME),
    ],
)
def test_every_format_gives_the_same_rows(tmp_path, name, content):
    data = Arrays(write(tmp_path, name, content))
    assert data.event_shape == (3,)
    splits = tensors(data)
    assert [len(x) for x in splits] == [40, 5, 5]
    assert torch.allclose(in_order(torch.cat(splits)), in_order(torch.tensor(TABLE).float()))
    z, contribution = data.preprocess.encode(splits[0])
    assert torch.allclose(z.mean(0), torch.zeros(3), atol=1e-5)
    assert torch.allclose(contribution, -splits[0].std(0).log().sum())


@pytest.mark.parametrize("content", [torch.tensor(TABLE), TABLE, FRAME, TABLE.tolist()])
def test_data_in_memory(content):
    assert torch.allclose(tensors(Arrays(data=content))[0], tensors(Arrays(data=TABLE))[0])


def test_shares_are_cut_by_the_seed_with_their_own_rows():
    x = np.arange(43.0)[:, None] + np.array([0, 0.5])
    data = Arrays(data=x[:, ::-1] ** 2, validation=0.26, test=0.1, seed=3, redundant="keep")
    pieces = split_indices(43, (11, 4), 3)  # 11.18 and 4.3 rows
    for values, piece in zip(tensors(data), pieces, strict=True):
        assert torch.equal(values, torch.tensor(x[piece][:, ::-1] ** 2).float())
    only_test = Arrays(data=x**2, validation=0.0, test=0.4, redundant="keep")
    only_test.setup()
    assert len(only_test.test_dataloader().dataset) == 17
    assert only_test.val_dataloader() == []


def test_given_splits_stay_as_they_are(tmp_path):
    parts = {"train": TABLE[:30], "val": TABLE[30:45], "test": TABLE[45:]}
    files = [write(tmp_path, f"{name}.npy", part) for name, part in parts.items()]
    for data in (
        Arrays(data=parts),
        Arrays(write(tmp_path, "x.npz", parts)),
        Arrays(files[0], val_path=files[1], test_path=files[2]),
    ):
        for x, part in zip(tensors(data), parts.values(), strict=True):
            assert torch.equal(x, torch.tensor(part).float())
    half = Arrays(data={"train": TABLE, "test": TABLE[:7]}, validation=0.5)
    assert [len(x) for x in tensors(half)] == [25, 25, 7]


def test_columns_and_keys_are_chosen_by_name_or_place(tmp_path):
    csv = write(tmp_path, "x.csv", FRAME.assign(d="text").to_csv(index=False))
    for data in (
        Arrays(csv, columns=["c", "a"]),
        Arrays(csv, columns=[2, 0]),
        Arrays(data=TABLE, columns=[2, 0]),
        Arrays(write(tmp_path, "x.npz", {"one": TABLE[:, [2, 0]], "two": TABLE}), key="one"),
    ):
        assert data.event_shape == (2,)
        assert torch.allclose(
            in_order(torch.cat(tensors(data))), in_order(torch.tensor(TABLE[:, [2, 0]]).float())
        )
    assert Arrays(csv, columns=["c", "a"]).column_names == ("c", "a")


def test_a_table_without_a_line_of_names_keeps_its_first_row(tmp_path):
    path = write(tmp_path, "x.csv", "7,7,one\n8,7,two\n9,5,one\n")
    data = Arrays(path, columns=[0, 1], validation=0.0, test=0.0)
    data.setup()
    assert data.column_names == ("0", "1")
    assert data.train_dataloader().dataset.tensors["x"].tolist() == [[7, 7], [8, 7], [9, 5]]
    with pytest.raises(DataError, match=r"x\.csv has columns that are not numbers: 2"):
        Arrays(path)


def test_images_keep_their_shape_and_may_go_without_validation():
    data = Arrays(data=RNG.normal(size=(20, 1, 4, 4)), validation=0.0, standardize=False)
    data.setup("fit")
    assert data.event_shape == (1, 4, 4)
    assert data.val_dataloader() == []
    assert data.preprocess is None


def bad(row=0, column=0, value=np.nan, table=TABLE):
    table = table.copy()
    table[row, column] = value
    return table


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({}, ConfigError, "either path or data"),
        ({"path": "x.npy", "data": TABLE}, ConfigError, "either path or data"),
        ({"path": "nowhere.npy"}, DataError, r"There is no file nowhere\.npy"),
        ({"path": "x.xlsx"}, DataError, r"unknown extension; accepted are \.npy, \.npz, \.csv"),
        ({"path": "x.npy", "key": "a"}, ConfigError, r"only \.npz files have keys"),
        ({"data": bad(17, 1)}, DataError, "NaN or infinite values, .* first in row 17, column 1"),
        ({"data": bad(4, 2, -np.inf)}, DataError, "first in row 4, column 2"),
        ({"data": bad(4, 2, 1e300)}, DataError, "first in row 4, column 2"),
        ({"data": FRAME.assign(b="x")}, DataError, "columns that are not numbers: b"),
        ({"data": np.array([["x"]])}, DataError, "data holds <U1; expected are real numbers"),
        ({"data": np.zeros((0, 3))}, DataError, r"data is empty: its shape is \(0, 3\)"),
        ({"data": np.zeros(3)}, DataError, r"data has shape \(3,\); expected are rows"),
        ({"data": TABLE, "columns": ["z"]}, ConfigError, "no column 'z'; there are 0, 1, 2"),
        ({"data": TABLE, "columns": [-1]}, ConfigError, "no column -1"),
        ({"data": TABLE, "columns": []}, ConfigError, "columns is an empty list"),
        ({"data": TABLE[:, None], "columns": [0]}, ConfigError, "columns are for tables"),
        ({"data": {"valid": TABLE}}, ConfigError, "entries valid; accepted are train"),
        ({"data": TABLE, "validation": 1.0}, ConfigError, r"validation is 1\.0; accepted are"),
        ({"data": TABLE, "batch_size": 0}, ConfigError, "batch_size is 0"),
    ],
)
def test_bad_input_is_named_at_once(options, error, message):
    with pytest.raises(error, match=message):
        Arrays(**options)


def test_what_only_the_splits_show():
    with pytest.raises(ConfigError, match=r"Splits of \[30, 30\] rows leave -10 of 50 rows"):
        Arrays(data=TABLE, validation=0.6, test=0.6).setup()
    constant = {"train": FRAME.assign(b=7.0, c=1.0), "val": FRAME}
    with pytest.raises(DataError, match="constant columns: b, c; choose others"):
        Arrays(data=constant, redundant="keep").setup()
    Arrays(data=constant, redundant="keep", standardize=False).setup()
    images = TABLE[:48].reshape(12, 3, 4)
    with pytest.raises(DataError, match=r"val split of Arrays has events of shape \(4, 3\)"):
        Arrays(data={"train": images, "val": images.reshape(12, 4, 3)}).setup()


def test_columns_of_all_splits_are_matched_by_name(tmp_path):
    kinds = FRAME.assign(kind=list("xy") * 25)
    turned = kinds[["kind", "c", "a", "b"]]
    train = write(tmp_path, "train.csv", kinds.to_csv(index=False))
    test = write(tmp_path, "test.csv", turned.to_csv(index=False))
    for data in (
        Arrays(data={"train": kinds, "test": turned}, categorical=["kind"], validation=0.0),
        Arrays(train, test_path=test, categorical=["kind"], validation=0.0),
        Arrays(train, test_path=test, categorical=["kind"], validation=0.0, redundant="keep"),
    ):
        data.setup()
        first = data._splits["train"]["x"]
        assert data.column_names == ("a", "b", "c", "kind")
        assert torch.equal(first, data.test_dataloader().dataset.tensors["x"])
        assert torch.allclose(first[:, :3], torch.tensor(TABLE).float())
    unnamed = kinds.to_numpy(dtype=object)
    data = Arrays(data={"train": kinds, "test": unnamed}, categorical=[3], validation=0.0)
    data.setup()
    assert torch.allclose(data._splits["train"]["x"], data.test_dataloader().dataset.tensors["x"])
    with pytest.raises(DataError, match="test data has columns that the training data has not: z;"):
        Arrays(data={"train": FRAME, "test": FRAME.rename(columns={"b": "z"})})
    with pytest.raises(
        DataError, match=r"The val data has 2 columns; the training data has 3\. Choo"
    ):
        Arrays(data={"train": TABLE, "val": TABLE[:, :2]})


def test_tables_of_arrow():
    table = pytest.importorskip("pyarrow").Table.from_pandas(FRAME)
    data = Arrays(data=table, validation=0.0, test=0.0)
    data.setup()
    assert data.column_names == ("a", "b", "c")
    assert torch.equal(data.train_dataloader().dataset.tensors["x"], torch.tensor(TABLE).float())


REDUNDANT = FRAME.assign(d=7.0, e=FRAME.a, f=7.0, g=FRAME.b, h=FRAME.a)


def test_redundant_columns_are_refused_dropped_or_kept():
    with pytest.raises(DataError, match="d is constant, e equals a, f is constant, g equals b, h"):
        Arrays(data=REDUNDANT)
    parts = {"train": REDUNDANT, "test": REDUNDANT.assign(d=FRAME.c)}
    dropped = Arrays(data=parts, redundant="drop", validation=0.0)
    assert dropped.event_shape == (3,)
    assert dropped.column_names == ("a", "b", "c")
    dropped.setup()
    for loader in (dropped.train_dataloader(), dropped.test_dataloader()):
        assert torch.equal(loader.dataset.tensors["x"], torch.tensor(TABLE).float())
    assert Arrays(data=REDUNDANT, redundant="keep").event_shape == (8,)
    assert Arrays(data=REDUNDANT, columns=["c", "h", "b"]).event_shape == (3,)
    images = np.zeros((9, 1, 2, 2))  # images have borders
    assert Arrays(data=images, standardize=False).event_shape == (1, 2, 2)


def test_redundant_columns_that_cannot_be_dropped():
    with pytest.raises(ConfigError, match="redundant is 'maybe'; accepted are refuse, drop and"):
        Arrays(data=TABLE, redundant="maybe")
    with pytest.raises(DataError, match="All columns of the training data are constant"):
        Arrays(data=np.ones((5, 2)), redundant="drop")
    with pytest.raises(DataError, match="The test data has 3 columns; the training data has 8"):
        Arrays(data={"train": REDUNDANT, "test": FRAME}, redundant="drop")


def test_damaged_files(tmp_path):
    for name in ("x.npy", "x.npz", "x.parquet"):
        (tmp_path / name).write_bytes(b"not an array")
        with pytest.raises(DataError, match=rf"{name} cannot be read"):
            Arrays(str(tmp_path / name))
    whole = (tmp_path / write(tmp_path, "cut.npz", {"x": TABLE})).read_bytes()
    (tmp_path / "cut.npz").write_bytes(whole[:300])
    with pytest.raises(DataError, match=r"cut\.npz cannot be read"):
        Arrays(str(tmp_path / "cut.npz"))
    (tmp_path / "x.csv").write_text("")
    with pytest.raises(DataError, match="cannot be read"):
        Arrays(str(tmp_path / "x.csv"))
    path = write(tmp_path, "y.npz", {"one": TABLE, "two": TABLE})
    with pytest.raises(ConfigError, match=r"holds the arrays one, two\. Name one with key"):
        Arrays(path)
    with pytest.raises(ConfigError, match=r"holds the arrays one, two\. There is no 'three'"):
        Arrays(path, key="three")


def test_built_by_the_command_line_parser(tmp_path):
    parser = ArgumentParser(exit_on_error=False)
    parser.add_subclass_arguments(LightningDataModule, "data")
    path = write(tmp_path, "x.npy")
    parsed = parser.parse_args(
        ["--data=Arrays", f"--data.path={path}", "--data.columns=[0, 2]", "--data.test=0.2"]
    )
    build = getattr(parser, "instantiate", parser.instantiate_classes)  # new name since 4.49
    data = build(parsed).data
    assert isinstance(data, Arrays)
    assert data.event_shape == (2,)
    assert data.hparams["test"] == 0.2
    assert "data" not in data.hparams
    again = parser.parse_string(parser.dump(parsed))
    assert build(again).data.event_shape == (2,)
