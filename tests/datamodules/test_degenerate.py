"""Data that has no density: columns that follow from others, whole numbers, repeated values."""

import lightning as L
import numpy as np
import pandas as pd
import pytest
import torch

from lightning_flows import DensityModule, RealNVP
from lightning_flows.core.errors import ConfigError, DataError
from lightning_flows.datamodules import Arrays
from lightning_flows.datamodules.readers.degenerate import repeated

RNG = np.random.default_rng(0)
A, B, C = RNG.normal(size=(3, 500))
SPLITS = {"validation": 0.0, "test": 0.0}


def rows(data):
    data.setup()
    return data.train_dataloader().dataset.tensors["x"]


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
@pytest.mark.parametrize(("scale", "offset"), [(1, 0), (5, 100), (30, -2), (1e-20, 1e-20)])
@pytest.mark.parametrize(
    ("columns", "message", "kept"),
    [
        ([A, 2 * A], "1 is a linear function of 0;", ["0"]),
        ([A, B, A + B], "2 is a linear function of 0 and 1;", ["0", "1"]),
        ([C, A, 3 - A, B, A - 2 * B], "2 is .* of 1, 4 is .* of 1 and 3;", ["0", "1", "3"]),
        ([A, A, 2 * A], "1 equals 0, 2 is a linear function of 0;", ["0"]),
    ],
)
def test_columns_that_follow_from_others_are_refused_or_dropped(
    columns, message, kept, scale, offset, dtype
):
    x = (scale * np.stack(columns, 1) + offset).astype(dtype)
    with pytest.raises(DataError, match=f"redundant columns: {message} set redundant to drop"):
        Arrays(data=x)
    dropped = Arrays(data=x, redundant="drop", **SPLITS)
    assert dropped.column_names == tuple(kept)
    z = dropped.preprocess.encode(rows(dropped))[0].double()
    assert torch.linalg.matrix_rank(z, rtol=1e-4) == len(kept)
    assert Arrays(data=x, redundant="keep").event_shape == (len(columns),)


def test_what_is_nearly_dependent_is_not_refused():
    x = np.stack([A, B, A + B + 1e-4 * C], 1)
    assert Arrays(data=x).event_shape == (3,)
    x[:, 2] = A + B
    x[7, 2] += 1  # one row tells
    assert Arrays(data=x).event_shape == (3,)
    few = RNG.normal(size=(6, 9))  # every column is a linear function where rows are fewer
    assert Arrays(data=few).event_shape == (9,)
    large = 1e5 + np.stack([A, B, C], 1).astype(np.float32)
    large[:, 2] = large[:, 0] + large[:, 1]  # to within the rounding of float32
    with pytest.raises(DataError, match="2 is a linear function of 0 and 1"):
        Arrays(data=large)


def test_the_remedy_for_whole_numbers_is_there():
    counts = pd.DataFrame({"x": A, "n": RNG.poisson(4.0, 500) - 3, "yes": B > 0, "id": range(500)})
    message = (
        r"column n holds whole numbers, \d+ .* column yes .*; set dequantize to \[n, yes\], name"
    )
    with pytest.warns(UserWarning, match=message):
        Arrays(data=counts)
    data = Arrays(data=counts, dequantize=["n", 2], **SPLITS)
    x = rows(data)
    data.preprocess.eval()
    z, contribution = data.preprocess.encode(x)
    dequantize, standardize = data.preprocess.transforms
    noise = dequantize.encode(x)[0] - x
    assert (noise[:, [0, 3]] == 0).all()
    assert ((noise[:, [1, 2]] > 0) & (noise[:, [1, 2]] < 1)).all()
    torch.testing.assert_close(
        standardize.std, dequantize.encode(x)[0].double().std(0), rtol=0.05, atol=0
    )
    assert abs(z.mean(0)).max() < 1e-5  # with the noise that was there while it was fitted
    expected = -(standardize.std.log().sum()).float()
    torch.testing.assert_close(contribution, expected.expand(500))
    again, other = data.preprocess.decode(z)
    assert torch.equal(again[:, 1:3], x[:, 1:3])
    torch.testing.assert_close(again, x, rtol=1e-5, atol=1e-4)
    assert torch.equal(other, contribution)
    everything = Arrays(data=counts[["n", "id"]], dequantize=True, **SPLITS)
    assert everything.preprocess.transforms[0].encode(rows(everything))[0].shape == (500, 2)


@pytest.mark.parametrize("start", [0, -1000, 2**22, 2**40])
def test_dequantized_numbers_come_back_however_large(start):
    x = start + RNG.integers(0, 9, (500, 2))
    data = Arrays(data=x, dequantize=True, **SPLITS)
    values = rows(data)
    data.preprocess.eval()
    z = data.preprocess.encode(values)[0].float()  # as a model gets it
    assert abs(z.std(0) - 1).max() < 1e-5
    noise = data.preprocess.transforms[0].encode(values)[0] - values
    assert abs(noise.mean() - 0.5) < 0.1
    again = data.preprocess.decode(z)[0]
    assert (again == values).float().mean() > 0.999
    assert torch.equal(again, again.round())


@pytest.mark.filterwarnings("ignore:.*LeafSpec.* is deprecated:FutureWarning")  # by Lightning
def test_pixels_through_arrays_are_warned_of_and_can_be_dequantized():
    pixels = RNG.integers(0, 256, (1500, 1, 3, 3)).astype(np.uint8)
    for x, message in [
        (pixels, "the array holds whole numbers, 256 different ones; .* set dequantize to true"),
        (pixels / 255, "the array takes 256 different values alone; multiply"),
        (np.where(pixels < 99, 0, RNG.random(pixels.shape)), r"value 0 in 39 % of the places"),
    ]:
        with pytest.warns(UserWarning, match=message):
            Arrays(data=x)
    data = Arrays(data=pixels[:64], dequantize=True, batch_size=16)
    module = DensityModule(RealNVP, data.event_shape)
    L.Trainer(
        max_epochs=1, logger=False, enable_checkpointing=False, enable_progress_bar=False,
        enable_model_summary=False, log_every_n_steps=1, accelerator="cpu",
    ).fit(module, data)  # fmt: skip
    assert 7 < module.trainer.callback_metrics["val/bits_per_dim"] < 10  # uniform: 8
    sample = module.sample(5)
    assert torch.equal(sample, sample.round())
    table = Arrays(data=np.stack([A, RNG.integers(0, 5, 500)], 1), dequantize=[1], batch_size=400)
    module = DensityModule(RealNVP, table.event_shape)
    L.Trainer(
        max_epochs=1, logger=False, enable_checkpointing=False, enable_progress_bar=False,
        enable_model_summary=False, log_every_n_steps=1, accelerator="cpu",
    ).fit(module, table)  # fmt: skip
    assert "val/bits_per_dim" not in module.trainer.callback_metrics  # not all is a probability


def test_a_value_that_repeats_is_named_with_its_share():
    rain = np.where(A > 0.25, A, 0)
    share = round(100 * (rain == 0).mean())
    with pytest.warns(
        UserWarning, match=rf"column 1 takes the value 0 in {share} % of the rows; nam"
    ):
        Arrays(data=np.stack([B, rain], 1))
    Arrays(data=np.stack([B, np.round(100 * A)], 1)[:60])  # few repeats: a matter of chance
    Arrays(data=np.where(A[:, None] > 1.9, 0, np.stack([A, B], 1)))  # 3 % of the rows


@pytest.mark.parametrize(
    ("column", "message"),
    [
        (np.arange(100).repeat(2), "c holds whole numbers, 100 different ones"),
        (np.arange(100).repeat(2)[1:], None),  # fewer than two rows a value
        (np.arange(30).repeat(50) / 7, "c takes 30 different values alone"),
        (np.arange(30).repeat(50)[1:] / 7, None),
        (np.r_[np.zeros(5), np.arange(1, 96) / 7], "c takes the value 0 in 5 % of the rows"),
        (np.r_[np.zeros(5), np.arange(1, 97) / 7], None),
        (np.r_[np.zeros(4), np.arange(1, 20) / 7], "c takes the value 0 in 17 % of the rows"),
        (np.r_[np.zeros(3), np.arange(1, 20) / 7], None),  # a matter of chance
        (np.full(200, 3.0), None),  # constant
    ],
)
def test_what_repeats_counts_from_its_bound_on(column, message):
    found = repeated(torch.as_tensor(column, dtype=torch.float64)[:, None], ["c"], [0], "rows")
    assert found == ({} if message is None else {0: message})


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"dequantize": ["z"]}, ConfigError, "no column 'z'"),
        ({"dequantize": [0]}, DataError, "train data holds .* not whole numbers in columns x;"),
        ({"dequantize": True}, DataError, "not whole numbers in columns x; dequantize takes"),
        (
            {"dequantize": ["n"], "categorical": ["n"]},
            ConfigError,
            "n are in dequantize and in cat",
        ),
    ],
)
def test_dequantize_is_for_whole_numbers(options, error, message):
    with pytest.raises(error, match=message):
        Arrays(data=pd.DataFrame({"x": A, "n": np.arange(500) % 7}), **options)


def test_dequantize_of_arrays_and_of_other_splits():
    images = np.arange(16).reshape(4, 1, 2, 2)
    with pytest.raises(ConfigError, match=r"data is no table; set it to true"):
        Arrays(data=images, dequantize=[0])
    with pytest.raises(
        DataError, match="The test data holds values that are not whole numbers; de"
    ):
        Arrays(data={"train": images, "test": images + 0.5}, dequantize=True)
