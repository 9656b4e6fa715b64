"""Periodic and bounded columns of tables, from a word in a config to the density."""

import math
from functools import partial

import lightning.pytorch as L
import pandas as pd
import pytest
import torch

from lightning_flows import DensityModule, RealNVP
from lightning_flows.core.errors import ConfigError, DataError
from lightning_flows.core.support import REAL, Columns, Interval, Torus
from lightning_flows.datamodules import Arrays
from lightning_flows.flows import CircularSplineFlow
from lightning_flows.transforms import ColumnRanges
from proofs.common import near

SHARES = torch.rand(200, 3, generator=torch.Generator().manual_seed(0))
FRAME = pd.DataFrame(
    {
        "wind": 360 * SHARES[:, 0].numpy(),
        "speed": (5 * SHARES[:, 1]).exp().numpy(),
        "cover": SHARES[:, 2].numpy(),
    }
)
small = partial(CircularSplineFlow, layers=2, bins=4, hidden=(8,))


def trained(flow, data):
    model = DensityModule(flow, data.event_shape)
    trainer = L.Trainer(
        max_epochs=1,
        accelerator="cpu",
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
    )
    trainer.fit(model, data)
    return model, trainer


def test_columns_lead_to_where_flows_model_them():
    data = Arrays(data=FRAME, periodic=["wind"], period=360, bounds={"cover": [0, 1]})
    assert data.preprocess.domain == Columns([Interval(0, 360), REAL, Interval(0, 1)])
    assert data.preprocess.codomain == Columns([Torus(1), REAL, REAL])
    data.setup()
    x = data.train_dataloader().dataset.tensors["x"]
    y, contribution = data.preprocess.encode(x)
    near(y[:, 0], (x[:, 0] - 180).deg2rad(), 1e-5)
    assert (y[:, 1:].std(0) - 1).abs().max() < 1e-3
    back, again = data.preprocess.decode(y)
    near(back, x, 1e-4)
    near(again, contribution, 1e-4)


def test_nats_refer_to_degrees():
    data = Arrays(data=FRAME[["wind"]], periodic=True, period=360, redundant="keep")
    assert data.preprocess.codomain == Torus(1)
    model = DensityModule(small, data.event_shape).eval()
    model.preprocess = data.preprocess
    x = torch.linspace(0, 360, 721)[:, None]
    with torch.no_grad():
        density = model.log_prob(x).exp()
        samples = model.sample(500)
    assert torch.trapezoid(density, x[:, 0]).item() == pytest.approx(1, abs=2e-3)
    assert (samples >= 0).all()
    assert (samples <= 360).all()
    assert model.log_prob(torch.tensor([[-5.0], [365.0]])).tolist() == [-math.inf] * 2


def test_a_period_may_begin_at_minus_its_half():
    turned = FRAME.assign(wind=FRAME["wind"] - 180)
    data = Arrays(data=turned, periodic=["wind"], period=360)
    assert data.preprocess.domain == Columns([Interval(-180, 180), REAL, REAL])


def test_a_model_trains_on_them_and_comes_back_from_its_checkpoint(tmp_path):
    data = Arrays(data=FRAME, periodic=[0], period=360, bounds={"cover": [0, 1]})
    model, trainer = trained(partial(small, periodic=[0]), data)
    trainer.save_checkpoint(tmp_path / "x.ckpt")
    again = DensityModule.load_from_checkpoint(tmp_path / "x.ckpt").eval()
    x = torch.tensor(FRAME.to_numpy()[:20]).float()
    near(again.log_prob(x), model.eval().log_prob(x), 1e-6)
    assert again.flow.support == Columns([Torus(1), REAL, REAL])


def test_a_flow_that_does_not_fit_is_refused_in_a_sentence():
    data = Arrays(data=FRAME, periodic=["wind"], period=360)
    with pytest.raises(ConfigError, match=r"use CircularSplineFlow with periodic=\[0\]"):
        trained(RealNVP, data)
    with pytest.raises(ConfigError, match=r"use CircularSplineFlow with periodic=\[0\]"):
        trained(small, data)
    degrees = Arrays(data=FRAME[["wind", "cover"]], standardize=False)
    with pytest.raises(ConfigError, match="rows lie outside of the torus of dimension 2, where"):
        trained(small, degrees)


@pytest.mark.parametrize(
    ("options", "error", "sentence"),
    [
        ({"periodic": ["wind"]}, DataError, "one period of column wind is 0 to 6.28319; for deg"),
        ({"periodic": ["wid"], "period": 360}, ConfigError, "periodic has no column 'wid'; there"),
        ({"periodic": [0], "period": 0}, ConfigError, "period is 0; accepted are positive"),
        ({"bounds": {"cover": [0, 0.5]}}, DataError, "bounds of column cover are 0 to 0.5"),
        ({"bounds": {"cover": [1, 0]}}, ConfigError, "accepted are its lowest and its highest"),
        ({"bounds": {"cover": [0, 1]}, "periodic": ["cover"]}, ConfigError, "in periodic and in"),
        ({"bounds": {"cover": [0, 1]}, "context": ["cover"]}, ConfigError, "is no part of x"),
        ({"periodic": ["wind"], "categorical": ["wind"]}, ConfigError, "in periodic and in cat"),
    ],
)
def test_says_what_cannot_be(options, error, sentence):
    with pytest.raises(error, match=sentence):
        Arrays(data=FRAME, **options)


def test_images_have_no_such_columns():
    with pytest.raises(ConfigError, match=r"periodic and bounds are for tables; the data has"):
        Arrays(data=torch.rand(9, 2, 2), periodic=True)


def test_a_column_has_one_range():
    with pytest.raises(ConfigError, match="accepted are different columns, at least one"):
        ColumnRanges(2)
    with pytest.raises(ConfigError, match="bounded names column 5; there are 0 to 1"):
        ColumnRanges(2, bounded={5: (0, 1)})
