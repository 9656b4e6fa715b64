"""Tables with columns of categories, and the flow that learns them."""

from functools import partial

import numpy as np
import pandas as pd
import pytest
import torch
from lightning_flows.datamodules import Arrays

from lightning_flows import DensityFlow, MixedFlow, RealNVP
from lightning_flows.errors import ConfigError, DataError

RNG = np.random.default_rng(0)
COLOUR = RNG.choice(["red", "green", "blue"], 2000, p=[0.5, 0.3, 0.2])
FRAME = pd.DataFrame(
    {
        "size": RNG.normal(5.0, 2.0, 2000) + 4.0 * (COLOUR == "red"),
        "colour": COLOUR,
        "weight": RNG.normal(size=2000),
        "grade": RNG.choice([10, 20], 2000, p=[0.75, 0.25]),
    }
)
CATEGORICAL = ["colour", "grade"]


def test_categories_become_numbers_in_order(tmp_path):
    FRAME.to_csv(tmp_path / "x.csv", index=False)
    objects = FRAME.to_numpy(dtype=object)
    for data in (
        Arrays(data=FRAME, categorical=CATEGORICAL),
        Arrays(str(tmp_path / "x.csv"), categorical=["colour", 3]),
        Arrays(data=objects, categorical=[1, 3]),
    ):
        assert data.classes == (0, 3, 0, 2)
        assert [*data.categories.values()] == [("blue", "green", "red"), (10, 20)]
        data.setup()
        x = torch.cat([split[0] for split in data._splits.values()])
        colours = np.array(["blue", "green", "red"])[x[:, 1].int()]
        rows = sorted(zip(x[:, 0].tolist(), colours, strict=True))
        expected = sorted(zip(FRAME["size"].astype("float32"), FRAME.colour, strict=True))
        assert rows == [(pytest.approx(a), b) for a, b in expected]
        y, contribution = data.preprocess.encode(x)
        assert torch.equal(y[:, [1, 3]], x[:, [1, 3]])
        train = data._splits["train"][0]
        assert torch.allclose(data.preprocess.encode(train)[0].std(0)[[0, 2]], torch.ones(2))
        assert torch.allclose(contribution, -train[:, [0, 2]].std(0).log().sum())


def test_splits_share_their_numbers_and_columns_are_chosen_first():
    parts = {"train": FRAME, "test": FRAME[FRAME.colour == "red"]}
    data = Arrays(data=parts, categorical=["colour"], columns=["weight", "colour"], validation=0.0)
    data.setup()
    assert data.classes == (0, 3)
    assert data._splits["test"][0][:, 1].unique().tolist() == [2]
    only = Arrays(data=FRAME, columns=["grade", "colour"], categorical=CATEGORICAL)
    assert (only.preprocess, only.classes) == (None, (2, 3))
    assert Arrays(data=FRAME[["size", "weight"]]).classes == ()


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"data": FRAME}, DataError, "columns that are not numbers: colour"),
        ({"data": FRAME, "categorical": ["shape"]}, ConfigError, "no column 'shape'; there are si"),
        (
            {"data": FRAME.assign(colour=FRAME.colour.where(FRAME.index != 7)), "categorical": [1]},
            DataError,
            "data has missing values, first in row 7, column colour",
        ),
        (
            {
                "data": {"train": FRAME[FRAME.colour != "red"], "val": FRAME},
                "categorical": CATEGORICAL,
            },
            DataError,
            r"Column colour of the val data has categories that the training data has not: \['red'",
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


def test_a_flow_that_knows_no_categories_is_refused(make_trainer):
    data = Arrays(data=FRAME, categorical=CATEGORICAL)
    for flow in (partial(RealNVP, layers=2), partial(MixedFlow, classes=[0, 2, 0, 2])):
        with pytest.raises(ConfigError, match=r"MixedFlow with classes=\[0, 3, 0, 2\]"):
            make_trainer().fit(DensityFlow(flow, data.event_shape), data)


@pytest.mark.parametrize("encoding", ["one-hot", "binary"])
def test_samples_are_categories_with_their_frequencies(make_trainer, tmp_path, encoding):
    torch.manual_seed(0)
    data = Arrays(data=FRAME, categorical=CATEGORICAL, validation=0.0, batch_size=200)
    inner = partial(RealNVP, layers=4, hidden=(32,))
    flow = partial(MixedFlow, classes=data.classes, encoding=encoding, flow=inner)
    optimizer = partial(torch.optim.Adam, lr=5e-3)
    model = DensityFlow(flow, data.event_shape, optimizer=optimizer)
    trainer = make_trainer(max_epochs=30)
    trainer.fit(model, data)
    with torch.no_grad():
        x = model.eval().sample(20_000)
    colour, grade = x[:, 1], x[:, 3]
    assert {*colour.unique().tolist()} == {0, 1, 2}
    assert {*grade.unique().tolist()} == {0, 1}
    train = data._splits["train"][0]
    for k in range(3):
        assert (colour == k).float().mean().item() == pytest.approx(
            (train[:, 1] == k).float().mean().item(), abs=0.05
        )
    assert (grade == 1).float().mean().item() == pytest.approx(0.25, abs=0.05)
    gap = x[colour == 2, 0].mean() - x[colour != 2, 0].mean()
    assert gap.item() == pytest.approx(4.0, abs=0.6)  # red ones are larger
    found = trainer.test(model, data, verbose=False)[0]
    assert "test/elbo" in found
    path = tmp_path / "x.ckpt"
    trainer.save_checkpoint(path)
    again = DensityFlow.load_from_checkpoint(path, weights_only=True).eval()
    torch.testing.assert_close(again.log_prob(train[:9]), model.log_prob(train[:9]))
