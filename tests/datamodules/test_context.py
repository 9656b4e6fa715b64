"""Columns of a table that a density is conditioned on."""

import numpy as np
import pandas as pd
import pytest
import torch

from lightning_flows.core.errors import ConfigError, DataError
from lightning_flows.datamodules import Arrays, split_indices
from lightning_flows.datamodules.readers.context import read_context

pytestmark = pytest.mark.filterwarnings("ignore:The training data has no density")

ROWS = 60
RNG = np.random.default_rng(0)
FRAME = pd.DataFrame(
    {
        "age": RNG.uniform(20, 80, ROWS),
        "y": RNG.normal(5, 30, ROWS),
        "sex": RNG.choice(["f", "m", "x"], ROWS),
        "dose": RNG.integers(0, 5, ROWS),
        "w": RNG.normal(size=ROWS),
    }
)
REAL = FRAME[["age", "y", "dose", "w"]]


def ready(**options):
    data = Arrays(**options)
    data.setup()
    return data


def splits(data):
    loaders = data.train_dataloader(), data.val_dataloader(), data.test_dataloader()
    return [loader.tensors for loader in loaders]


@pytest.mark.parametrize("columns", [["dose", "age"], [2, 0], ("dose", 0)])
@pytest.mark.parametrize("kind", ["frame", "array", "csv"])
def test_columns_leave_x_and_stay_with_their_rows_in_all_splits(columns, kind, tmp_path):
    if kind == "array":
        columns = [2, 0]
    REAL.to_csv(tmp_path / "x.csv", index=False)
    source = {
        "frame": {"data": REAL}, "array": {"data": REAL.to_numpy()},
        "csv": {"path": str(tmp_path / "x.csv")},
    }[kind]  # fmt: skip
    data = ready(**source, context=columns, validation=0.2, test=0.2)
    assert (data.event_shape, data.context_shape) == ((2,), (2,))
    if kind != "array":
        assert data.column_names == ("y", "w")
        assert data.context_names == ("dose", "age")
    whole = torch.cat([torch.cat([part["x"], part["context"]], 1) for part in splits(data)])
    expected = torch.tensor(REAL[["y", "w", "dose", "age"]].to_numpy()).float()
    order, other = whole[:, 3].argsort(), expected[:, 3].argsort()
    torch.testing.assert_close(whole[order], expected[other])
    train = splits(data)[0]["context"]
    torch.testing.assert_close(data.preprocess_context.mean, train.double().mean(0))
    torch.testing.assert_close(data.preprocess_context.std, train.double().std(0))


def test_other_splits_are_matched_by_name():
    other = REAL[["w", "dose", "age", "y"]].iloc[:9]
    for columns in (["age"], [0]):  # positions are those of the training table
        data = ready(data={"train": REAL, "test": other}, context=columns, validation=0.0)
        test = splits_of_test(data)
        np.testing.assert_allclose(test["context"][:, 0], other["age"], rtol=1e-6)
        np.testing.assert_allclose(test["x"], other[["y", "dose", "w"]], rtol=1e-6)
    with pytest.raises(ConfigError, match="has no column 'age'"):
        Arrays(data={"train": REAL, "test": REAL[["y", "dose", "w"]]}, context=["age"])


def splits_of_test(data):
    return {name: values.numpy() for name, values in data.test_dataloader().tensors.items()}


def test_columns_to_keep_need_not_name_the_context():
    for columns in (["y"], ["y", "age"]):
        data = ready(data=FRAME, columns=columns, context=["age"])
        assert (data.column_names, data.context_names) == (("y",), ("age",))


def test_categories_become_one_hot_where_they_are_named():
    options = {"data": FRAME, "context": ["sex", "age"], "columns": ["y", "w"], "test": 0.0}
    data = ready(**options, categorical=["sex"], validation=0.0)
    assert data.context_names == ("sex=f", "sex=m", "sex=x", "age")
    assert data.classes == ()
    assert data.categories == {}
    train = data.train_dataloader().tensors
    place = {value: i for i, value in enumerate(FRAME["y"].astype(np.float32))}
    rows = [place[np.float32(value)] for value in train["x"][:, 0].tolist()]
    assert len(rows) == ROWS
    sex = np.array(["f", "m", "x"])[train["context"][:, :3].argmax(1)]
    assert sex.tolist() == FRAME["sex"].iloc[rows].tolist()
    assert (train["context"][:, :3].sum(1) == 1).all()
    y = data.preprocess_context.encode(train["context"])[0]
    assert torch.equal(y[:, :3], train["context"][:, :3])
    torch.testing.assert_close(y[:, 3].mean(), torch.tensor(0.0), atol=1e-5, rtol=0)
    alone = ready(data=FRAME, context=["sex"], categorical=["sex"], columns=["y"])
    assert alone.preprocess_context is None
    mixed = FRAME.assign(kind=FRAME["sex"].iloc[::-1].to_numpy())
    both = ready(data=mixed, context=["sex"], categorical=["sex", "kind"])
    assert both.column_names == ("age", "y", "dose", "w", "kind")
    assert (both.classes, both.context_shape) == ((0, 0, 0, 0, 3), (3,))


def test_standardize_false_leaves_context_as_it_is():
    assert ready(data=REAL, context=["age"], standardize=False).preprocess_context is None


@pytest.mark.parametrize("offset", [0.0, 1.7e9])
def test_context_keeps_its_digits(offset):
    moved = REAL.assign(age=REAL["age"] + offset)
    data = ready(data=moved, context=["age"], test=0.0, validation=0.0)
    train = data.train_dataloader().tensors["context"]
    assert train.dtype == (torch.float64 if offset else torch.float32)
    assert len(train.unique()) == ROWS
    standard = data.preprocess_context.encode(train)[0]
    plain = ready(data=REAL, context=["age"], test=0.0, validation=0.0)
    expected = plain.preprocess_context.encode(plain.train_dataloader().tensors["context"])[0]
    torch.testing.assert_close(standard.float(), expected, atol=1e-4, rtol=0)


CONSTANT = REAL.assign(age=7.0)
BAD = {
    "constant": ({"data": CONSTANT, "context": ["age"]}, DataError, "that is constant: age;"),
    "one class": (
        {"data": FRAME.assign(sex="f"), "context": ["sex"], "categorical": ["sex"]},
        DataError, "that is constant: sex;",
    ),
    "NaN": (
        {"data": REAL.assign(age=[np.nan] * 3 + [1.0] * 57), "context": ["age"]},
        DataError, "NaN or infinite values, .* row 0, column age",
    ),
    "text": (
        {"data": FRAME, "context": ["sex"]},
        DataError, "not numbers: sex; leave them out with columns, or name them in categorical",
    ),
    "all": ({"data": REAL, "context": [0, 1, 2, 3]}, DataError, "All columns .* are context"),
    "empty": ({"data": REAL, "context": []}, ConfigError, "context is an empty list"),
    "unknown": ({"data": REAL, "context": ["ages"]}, ConfigError, "has no column 'ages'"),
    "dequantize": (
        {"data": REAL, "context": ["dose"], "dequantize": ["dose"]},
        ConfigError, "Columns dose are in dequantize and in context",
    ),
    "images": (
        {"data": np.ones((5, 2, 2)), "context": [0]}, ConfigError, "context names columns",
    ),
    "categories": (
        {
            "data": {"train": FRAME[FRAME.sex != "x"], "val": FRAME},
            "context": ["sex"], "categorical": ["sex"],
        },
        DataError, r"Column sex of the val data has categories that the training .*'x'",
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", BAD)
def test_context_that_cannot_be_used(name):
    options, kind, message = BAD[name]
    with pytest.raises(kind, match=message):
        Arrays(**options)


def test_context_that_is_constant_in_the_training_split_alone():
    age = np.zeros(ROWS)
    age[split_indices(ROWS, (6, 6), 0)[1]] = np.arange(6)
    with pytest.raises(DataError, match="that is constant: age"):
        ready(data=REAL.assign(age=age), context=["age"])


def test_dequantize_all_means_all_of_x():
    numbers = REAL.assign(y=np.arange(ROWS) * 7 % 31, w=np.arange(ROWS) * 5 % 17)
    data = ready(data=numbers, columns=["y", "w"], context=["age"], dequantize=True)
    assert data.context_names == ("age",)
    x = data.train_dataloader().tensors["x"]
    assert torch.equal(data.preprocess.decode(data.preprocess.encode(x)[0])[0], x)


def test_rows_of_a_file_are_matched_by_name_or_by_position(tmp_path):
    columns = ready(
        data=FRAME, context=["sex", "age"], categorical=["sex"], columns=["y"]
    ).context_columns
    path = str(tmp_path / "c.csv")
    pd.DataFrame({"age": [30.5, 40], "else": ["a", "b"], "sex": ["x", "f"]}).to_csv(
        path, index=False
    )
    expected = torch.tensor([[0, 0, 1, 30.5], [1, 0, 0, 40]])
    context, table = read_context(path, columns, 4)
    assert torch.equal(context.float(), expected)
    assert table.names == ("sex", "age")
    (tmp_path / "c.csv").write_text("x,30.5\nf,40\n")
    # the first line reads as names unless something in it is a number
    assert torch.equal(read_context(path, columns, 4)[0].float(), expected)
    np.save(tmp_path / "c.npy", expected.numpy())
    path = str(tmp_path / "c.npy")
    assert torch.equal(read_context(path, None, 4)[0], expected)
    with pytest.raises(DataError, match=r"has 4 columns; the context .* has 2: sex, age"):
        read_context(path, columns, 4)
    with pytest.raises(DataError, match="4 columns, which make 4 entries, and the model takes 3"):
        read_context(path, None, 3)
