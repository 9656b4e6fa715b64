"""Tables with more digits than single precision has."""

import numpy as np
import pandas as pd
import pytest
import torch

from lightning_flows.core.errors import DataError
from lightning_flows.datamodules import Arrays

NOISE = np.random.default_rng(0).normal(size=(1000, 2))
SPLITS = {"validation": 0.0, "test": 0.0}


def rows(data):
    data.setup()
    return data.train_dataloader().dataset.tensors["x"]


@pytest.mark.parametrize("as_what", ["array", "tensor", "csv", "npy", "parquet", "frame"])
@pytest.mark.parametrize("spread", [100, 1000, 30_000])
def test_timestamps_keep_their_values_from_any_source(tmp_path, as_what, spread):
    x = np.round(1.7e9 + spread * NOISE, 6)
    frame = pd.DataFrame(x, columns=["a", "b"])
    path = str(tmp_path / f"x.{as_what}")
    if as_what == "csv":
        frame.to_csv(path, index=False)
    elif as_what == "npy":
        np.save(path, x)
    elif as_what == "parquet":
        frame.to_parquet(path)
    memory = {"array": x, "tensor": torch.tensor(x), "frame": frame}
    data = Arrays(**{"data": memory[as_what]} if as_what in memory else {"path": path}, **SPLITS)
    values = rows(data)
    assert values.dtype == torch.float64
    index = values[:, 0].argsort()
    assert np.array_equal(values[index].numpy(), x[x[:, 0].argsort()])
    y, contribution = data.preprocess.encode(values)
    y = y.float()  # what a model in single precision sees
    assert len(y[:, 0].unique()) == len(np.unique(x[:, 0]))
    expected = (x - x.mean(0)) / x.std(0, ddof=1)
    assert np.allclose(y[index].numpy(), expected[x[:, 0].argsort()], atol=1e-5)
    assert contribution[0] == pytest.approx(-np.log(x.std(0, ddof=1)).sum(), rel=1e-9)
    again = data.preprocess.decode(y)[0]
    assert (again - values).abs().max() < 1e-6 * spread * 4


def test_long_whole_numbers_are_not_merged():
    ids = 2**24 + np.random.default_rng(1).permutation(1000)[:, None] * [1, 3]
    for data in (ids, torch.tensor(ids), pd.DataFrame(ids), ids.tolist()):
        assert len(rows(Arrays(data=data, redundant="keep", **SPLITS))[:, 0].unique()) == 1000
    longer = ids + 2**56
    with pytest.raises(DataError, match=r"beyond 2\^53 in column 0, .*subtract a constant"):
        Arrays(data=longer)
    with pytest.raises(DataError, match="in column key"):
        Arrays(data=pd.DataFrame({"key": longer[:, 0], "x": NOISE[:, 0]}))
    classes = Arrays(
        data=pd.DataFrame({"key": longer[:5, 0], "x": NOISE[:5, 0]}), categorical=["key"]
    ).classes
    assert classes == (5, 0)


@pytest.mark.parametrize("scale", [1e-30, 1e-100, 1.0, 1e30, 1e100])
def test_scale_is_no_matter(scale):
    data = Arrays(data=scale * NOISE, **SPLITS)
    values = rows(data)
    assert values.dtype == (torch.float32 if 1e-38 < scale < 1e38 else torch.float64)
    y, contribution = data.preprocess.encode(values)
    assert torch.allclose(y.double().std(0), torch.ones(2).double(), atol=1e-5)
    expected = -np.log(NOISE.std(0, ddof=1)).sum() - 2 * np.log(scale)
    assert contribution.tolist() == pytest.approx([expected] * len(values), rel=1e-5)


def test_single_precision_stays_where_it_is_enough():
    for x in (
        NOISE,  # its rounding is no more than that of any model
        300 + 10 * NOISE,
        np.round(3e4 + 2e4 * NOISE, 3),
        np.exp(5 * NOISE),  # outliers of a heavy tail are rounded, and matter to nobody
        np.random.default_rng(0).permutation(1000)[:, None],
    ):
        assert rows(Arrays(data=x, **SPLITS)).dtype == torch.float32
    with pytest.warns(UserWarning, match="column 1 holds whole numbers"):  # digits that never were
        data = Arrays(data=(1.7e9 + 1000 * NOISE).astype(np.float32), **SPLITS)
    assert rows(data).dtype == torch.float32
    with_outlier = 1.7e9 + 100 * NOISE
    with_outlier[7] = 0
    assert rows(Arrays(data=with_outlier, **SPLITS)).dtype == torch.float64
    mixed = {"train": NOISE, "test": 1e9 + NOISE}
    data = Arrays(data=mixed, validation=0.0)
    assert rows(data).dtype == data.test_dataloader().dataset.tensors["x"].dtype == torch.float64


def test_without_centring_the_loss_is_said():
    x = NOISE + np.array([0, 1e9])
    with pytest.warns(UserWarning, match=r"loses digits in torch\.float32, in column 1: set stand"):
        data = Arrays(data=x, standardize=False, **SPLITS)
    assert rows(data).dtype == torch.float32
    with pytest.raises(DataError, match=r"cannot hold, in columns 0, 1; set standardize"):
        Arrays(data=1e100 * NOISE, standardize=False)
    default = torch.get_default_dtype()
    try:
        torch.set_default_dtype(torch.float64)
        assert rows(Arrays(data=x, standardize=False, **SPLITS)).dtype == torch.float64
    finally:
        torch.set_default_dtype(default)


def test_a_constant_is_what_does_not_vary_at_all():
    x = NOISE * [1, 0] + [0, 1e9]
    x[3, 1] += 1e-3
    with pytest.warns(UserWarning, match=r"column 1 takes the value 1e\+09 in 100 % of the rows"):
        rows(Arrays(data=x, **SPLITS))
    x[3, 1] = 1e9
    with pytest.raises(DataError, match=r"constant columns: 1; .* minimum_scale to a positive"):
        Arrays(data=x, redundant="keep").setup()
    data = Arrays(data=x, redundant="keep", minimum_scale=0.25, **SPLITS)
    rows(data)
    assert data.preprocess.std[1] == 0.25
    pixels = np.zeros((9, 1, 2, 2)) + NOISE[:9, :1, None, None]
    pixels[:, 0, 0, 1] = 3
    with pytest.raises(
        DataError, match=r"constant entries \(0, 0, 1\); drop them or set minimum_s"
    ):
        Arrays(data=pixels).setup()
    rows(Arrays(data=pixels, minimum_scale=0.1, **SPLITS))


def test_types_that_numpy_and_torch_do_not_share(tmp_path):
    path = str(tmp_path / "x.npy")
    np.save(path, NOISE.astype(np.longdouble))
    assert np.allclose(rows(Arrays(path, **SPLITS)).numpy().mean(0), NOISE.mean(0))
    half = rows(Arrays(data=torch.tensor(NOISE).bfloat16(), **SPLITS))
    assert half.dtype == torch.float32
    for x, message in [
        (NOISE + 1j, "data holds complex128; expected are real"),
        (torch.tensor(NOISE + 1j), r"data holds torch\.complex128; expected are real"),
        (torch.tensor(NOISE).to_sparse(), "data is a sparse, nested or quantized tensor"),
        (np.ma.masked_greater(NOISE, 2.0), "masked array with missing values"),
        ([[1.0, 2.0], [3.0]], "data is no array of numbers"),
    ]:
        with pytest.raises(DataError, match=message):
            Arrays(data=x)
    nullable = pd.DataFrame({"a": pd.array([1, None, 3], dtype="Int64"), "b": [1.0, 2.0, 3.5]})
    with pytest.raises(DataError, match=r"NaN .* first in row 1, column a"):
        Arrays(data=nullable)
