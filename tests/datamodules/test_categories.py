"""Tables with columns of categories."""

import numpy as np
import pytest
import torch

from lightning_flows.core.errors import ConfigError, DataError
from lightning_flows.datamodules import Arrays
from mixed_tables import CATEGORICAL, FRAME


def test_categories_become_numbers_in_order(tmp_path):
    FRAME.to_csv(tmp_path / "x.csv", index=False)
    objects = FRAME.to_numpy(dtype=object)
    for data in (
        Arrays(data=FRAME, categorical=CATEGORICAL),
        Arrays(str(tmp_path / "x.csv"), categorical=["color", 3]),
        Arrays(data=objects, categorical=[1, 3]),
    ):
        assert data.classes == (0, 3, 0, 2)
        assert [*data.categories.values()] == [("blue", "green", "red"), (10, 20)]
        data.setup()
        x = torch.cat([split["x"] for split in data._splits.values()])
        colors = np.array(["blue", "green", "red"])[x[:, 1].int()]
        rows = sorted(zip(x[:, 0].tolist(), colors, strict=True))
        expected = sorted(zip(FRAME["size"].astype("float32"), FRAME.color, strict=True))
        assert rows == [(pytest.approx(a), b) for a, b in expected]
        y, contribution = data.preprocess.encode(x)
        assert torch.equal(y[:, [1, 3]], x[:, [1, 3]])
        train = data._splits["train"]["x"]
        assert torch.allclose(data.preprocess.encode(train)[0].std(0)[[0, 2]], torch.ones(2))
        assert torch.allclose(contribution, -train[:, [0, 2]].std(0).log().sum())


def test_splits_share_their_numbers_and_columns_are_chosen_first():
    parts = {"train": FRAME, "test": FRAME[FRAME.color == "red"]}
    data = Arrays(data=parts, categorical=["color"], columns=["weight", "color"], validation=0.0)
    data.setup()
    assert data.classes == (0, 3)
    assert data._splits["test"]["x"][:, 1].unique().tolist() == [2]
    only = Arrays(data=FRAME, columns=["grade", "color"], categorical=CATEGORICAL)
    assert (only.preprocess, only.classes) == (None, (2, 3))
    assert Arrays(data=FRAME[["size", "weight"]]).classes == ()


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"data": FRAME}, DataError, "columns that are not numbers: color"),
        ({"data": FRAME, "categorical": ["shape"]}, ConfigError, "no column 'shape'; there are si"),
        (
            {"data": FRAME.assign(color=FRAME.color.where(FRAME.index != 7)), "categorical": [1]},
            DataError,
            "data has missing values, first in row 7, column color",
        ),
        (
            {
                "data": {"train": FRAME[FRAME.color != "red"], "val": FRAME},
                "categorical": CATEGORICAL,
            },
            DataError,
            r"Column color of the val data has categories that the training data has not: \['red'",
        ),
        (
            {"data": FRAME.to_numpy(dtype=object), "categorical": [3]},
            DataError,
            "text in columns that are not categorical",
        ),
        ({"data": np.zeros((3, 1, 2)), "categorical": [0]}, DataError, "are for tables"),
    ],
)
def test_bad_categories_are_named(options, error, message):
    with pytest.raises(error, match=message):
        Arrays(**options)
