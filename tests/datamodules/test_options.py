"""Options from numpy, pandas, torch and configuration libraries are as good as plain ones."""

from collections.abc import Sequence

import lightning as L
import numpy as np
import pandas as pd
import pytest
import torch

from lightning_flows import DensityModule, RealNVP
from lightning_flows.core.errors import ConfigError, DataError
from lightning_flows.datamodules import (
    MNIST,
    POWER,
    Arrays,
    Digits,
    FashionMNIST,
    FlowDataModule,
    NotMNIST,
    Toy,
)

FRAME = pd.DataFrame(np.random.default_rng(0).normal(size=(40, 4)), columns=["a", "b", "c", "d"])


class ListConfig(Sequence):
    """A sequence that is no list, as OmegaConf has it."""

    def __init__(self, items):
        self.items = items

    def __getitem__(self, place):
        return self.items[place]

    def __len__(self):
        return len(self.items)


@pytest.mark.parametrize(
    "columns",
    [
        np.array([2, 0]),
        [np.int64(2), np.int32(0)],
        torch.tensor([2, 0]),
        ListConfig([2, 0]),
        ListConfig(["c", "a"]),
        np.array(["c", "a"]),
        pd.Index(["c", "a"]),
        ("c", 0),
    ],
)
def test_columns_of_any_make(columns, tmp_path):
    data = Arrays(
        data=FRAME, columns=columns, batch_size=np.int64(7), seed=np.int32(3),
        validation=np.float32(0.25), test=np.float64(0.25),
    )  # fmt: skip
    data.setup()
    expected = Arrays(
        data=FRAME, columns=["c", "a"], batch_size=7, seed=3, validation=0.25, test=0.25
    )
    expected.setup()
    for mine, theirs in zip(data.train_dataloader(), expected.train_dataloader(), strict=True):
        assert torch.equal(mine["x"], theirs["x"])
    assert data.column_names == ("c", "a")
    torch.save(dict(data.hparams), tmp_path / "x.ckpt")
    stored = torch.load(tmp_path / "x.ckpt", weights_only=True)
    assert [*stored["columns"]] in (["c", "a"], [2, 0], ["c", 0])
    assert type(stored["batch_size"]) is int


def test_other_sequences_and_single_columns():
    counts = FRAME.assign(n=np.arange(40) % 3, m=np.arange(40) % 4)
    for some in (np.array(["n", "m"]), ListConfig(["n", "m"]), ["n", "m"]):
        data = Arrays(data=counts, dequantize=some)
        assert len(data.preprocess.transforms[0].transform.event_shape) == 1
        assert Arrays(data=counts, categorical=some).classes == (0, 0, 0, 0, 3, 4)
    assert Arrays(data=FRAME, columns="b").column_names == ("b",)
    assert Arrays(data=FRAME, columns=1).column_names == ("b",)
    with pytest.raises(ConfigError, match="no column True"):
        Arrays(data=FRAME, columns=np.array([True, False, True, False]))
    with pytest.raises(ConfigError, match="no column 'ab'"):
        Arrays(data=FRAME, columns="ab")
    with pytest.raises(DataError, match="several columns of one name: a"):
        Arrays(data=FRAME.rename(columns={"b": "a"}))


def test_shapes_sizes_and_seeds():
    class Bare(FlowDataModule):
        pass

    assert Bare(np.array([3, 2])).event_shape == (3, 2)
    assert Bare(np.int64(3)).event_shape == (3,)
    assert Bare(ListConfig([1, 4, 4])).event_shape == (1, 4, 4)
    toys = [Toy(n_train=n, n_val=n, seed=n) for n in (np.int64(9), 9)]
    for toy in toys:
        toy.setup()
    assert torch.equal(*(toy.val_dataloader().dataset.tensors["x"] for toy in toys))
    digits = Digits(validation=np.int64(100), test=np.int64(50), seed=np.int64(1))
    digits.setup()
    assert len(digits.val_dataloader().dataset) == 100
    for options, message in [
        ({"batch_size": 32.0}, r"batch_size is 32\.0; accepted are integers"),
        ({"seed": "one"}, "seed is 'one'"),
        ({"n_train": 10.5}, r"n_train is 10\.5; accepted are integers"),
    ]:
        with pytest.raises(ConfigError, match=message):
            Toy(**options)


def test_hyperparameters_of_data_never_meet_those_of_a_model(tmp_path):
    for data in (Arrays(data=FRAME), Toy(), Digits(), MNIST(), FashionMNIST(), NotMNIST(), POWER()):
        assert data.hparams
        assert not data._log_hyperparams  # else Lightning compares them with the model's
    data = Arrays(data=FRAME)
    module = DensityModule(RealNVP, list(data.event_shape))
    L.Trainer(
        max_steps=1, default_root_dir=tmp_path, enable_checkpointing=False, accelerator="cpu",
        enable_progress_bar=False, enable_model_summary=False, log_every_n_steps=1,
    ).fit(module, data)  # fmt: skip
