"""Arguments, batches and data of whatever kind people have them."""

from collections import UserDict, UserList
from functools import partial

import lightning.pytorch as pl
import numpy as np
import pytest
import torch
from lightning.pytorch.loggers import CSVLogger, TensorBoardLogger
from torch.utils.data import DataLoader

from lightning_flows import (
    MAF,
    NICE,
    ComposedFlow,
    DensityModule,
    FreeFormFlow,
    LatentPriorFlow,
    NeuralSplineFlow,
    PaddedFlow,
    RealNVP,
    RectangularModule,
    flows,
)
from lightning_flows.callbacks import ComponentExtraction
from lightning_flows.core.errors import ConfigError, ShapeError
from lightning_flows.datamodules import Arrays
from lightning_flows.nets import MLPDecoder, MLPEncoder
from lightning_flows.objectives import Tikhonov
from lightning_flows.transforms import Augment

pytestmark = pytest.mark.filterwarnings("ignore:.*(val_dataloader|exists and is not empty)")
SMALL = partial(RealNVP, layers=1, hidden=(4,))
PADDED = partial(PaddedFlow, latent_features=2, ambient=SMALL, prior=SMALL)
FREE = partial(
    FreeFormFlow,
    latent_features=2,
    encoder=partial(MLPEncoder, hidden=(4,)),
    decoder=partial(MLPDecoder, hidden=(4,)),
    prior=SMALL,
)
AUGMENTED = partial(ComposedFlow, layers=[partial(Augment, add=1), SMALL])


def points(n=32, dtype=torch.float32):
    x = torch.randn(n, 4, generator=torch.Generator().manual_seed(1))
    return (x * torch.tensor([1.0, 5.0, 30.0, 5.0])).to(dtype)


# -- arguments -------------------------------------------------------------------------------------


class Config(UserList):
    """Stands for the lists of configuration libraries, which are sequences and no lists."""


ODD = {
    "scalar": {"event_shape": np.int64(4)},
    "sequence": {"event_shape": Config([4])},
    "widths": {"flow": partial(RealNVP, layers=np.int32(1), hidden=np.array([4, 4]))},
    "config": {"flow": partial(RealNVP, layers=1, hidden=Config([4, np.int64(4)]))},
    "numbers": {"noise": np.float32(0.5), "penalties": [Tikhonov(np.float64(0.1), np.int64(1))]},
    "text": {"flow": partial(RealNVP, layers=1, hidden=[4], activation=np.str_("tanh"))},
    "truth": {"flow": partial(RealNVP, layers=1, hidden=[4], actnorm=np.bool_(True))},
}


@pytest.mark.parametrize("odd", ODD)
def test_odd_arguments_are_stored_as_plain_data(odd, make_trainer, tmp_path):
    model = DensityModule(**{"flow": SMALL, "event_shape": 4, **ODD[odd]})
    trainer = make_trainer(max_steps=1)
    trainer.fit(model, Arrays(data=points()))
    trainer.save_checkpoint(tmp_path / "x.ckpt")
    again = DensityModule.load_from_checkpoint(tmp_path / "x.ckpt", weights_only=True)
    assert torch.equal(again.log_prob(points()), model.log_prob(points()))
    assert dict(again.hparams) == dict(model.hparams)


@pytest.mark.parametrize(
    "shape", [np.float64(4), [4.0], [np.float32(4)], "4", (), Config([]), [0], -1, None]
)
def test_what_is_no_shape_is_refused(shape):
    with pytest.raises(ShapeError, match=r"event_shape is .*; accepted are positive integers"):
        DensityModule(SMALL, shape)


def test_an_array_among_the_options_is_refused():
    for options in ({"event_shape": np.array([2, 2])}, {"event_shape": 4, "warmup": np.arange(2)}):
        with pytest.raises(ConfigError, match=r"is an array, array\(.*; give a list or a tuple"):
            RectangularModule(PADDED, **options)


class Saving(pl.LightningDataModule):
    """Keeps options of the names that modules have, and logs them."""

    def __init__(self, event_shape, noise):
        super().__init__()
        self.save_hyperparameters()
        self.event_shape = (event_shape,)

    def train_dataloader(self):
        return DataLoader(points(), 16)

    test_dataloader = train_dataloader


@pytest.mark.parametrize("kind", [CSVLogger, TensorBoardLogger])
def test_options_of_module_and_data_may_share_names(kind, make_trainer, tmp_path):
    logger, model = kind(tmp_path), DensityModule(SMALL, (4,), noise=0.5)
    trainer = make_trainer(max_steps=1, logger=logger)
    trainer.fit(model, Saving((4,), noise=7.0))
    trainer.test(model, Saving((4,), noise=7.0), verbose=False)
    logger.save()
    text = next(tmp_path.rglob("hparams.yaml")).read_text()
    for line in ("noise: 7.0", "model/noise: 0.5", "model/event_shape:", "flow:"):
        assert line in text
    assert trainer.checkpoint_callback is None


# -- data ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("offset", [1e3, 1e6, 1e9])
def test_double_precision_is_preprocessed_before_it_is_rounded(offset):
    x = points(dtype=torch.float64)
    model, there = DensityModule(SMALL, 4).eval(), DensityModule(SMALL, 4).eval()
    there.load_state_dict(model.state_dict())
    for each, data in ((model, x), (there, x + offset)):
        each.preprocess = Arrays(data=points()).preprocess.double()
        each.preprocess.mean.copy_(data.mean(0))
        each.preprocess.std.copy_(data.std(0))
    torch.testing.assert_close(there.log_prob(x + offset), model.log_prob(x))


def test_callbacks_read_batches_with_keys_of_their_own(make_trainer, tmp_path):
    x = points()
    rows = [{"image": each, "x": 0} for each in x]
    model = RectangularModule(PADDED, 4, data_key="image")
    drawn = [ComponentExtraction(2, walks=0)]
    trainer = make_trainer(callbacks=drawn, default_root_dir=tmp_path)
    trainer.fit(model, DataLoader(rows, 16), DataLoader(rows, 16))
    with np.load(tmp_path / "images" / "components" / "0001.npz") as arrays:
        np.testing.assert_array_equal(arrays["points"], x[:2])
    found, _ = model.unpack(UserDict(image=x))
    assert torch.equal(found, x)


def test_a_batch_without_the_key_is_refused_with_the_remedy():
    model = DensityModule(SMALL, 4, context_shape=3)
    with pytest.raises(ShapeError, match=r"with 'image', 'y', and not 'x': .* with data_key"):
        model.unpack({"image": points(), "y": 0})
    with pytest.raises(ShapeError, match="with no entry, and not 'x'"):
        model.unpack({})
    with pytest.raises(ShapeError, match="a mapping with the entry 'context'"):
        model.unpack({"x": points()})


def test_callbacks_say_which_key_the_items_lack(make_trainer):
    rows = [{"image": each} for each in points()]
    model = DensityModule(SMALL, 4, data_key="image")
    model.unpack = lambda batch: (batch["image"], None)
    model.data_key = "picture"
    trainer = make_trainer(callbacks=[ComponentExtraction(2)])
    with pytest.warns(UserWarning, match="Items of the data set hold 'image', and not 'picture'"):
        trainer.fit(model, DataLoader(rows, 16), DataLoader(rows, 16))


EMPTY = {
    RealNVP: SMALL,
    NICE: partial(NICE, layers=1, hidden=(4,)),
    MAF: partial(MAF, layers=1, hidden=(4,)),
    NeuralSplineFlow: partial(NeuralSplineFlow, layers=1, hidden=(4,)),
    flows.Glow: partial(flows.Glow, levels=1, steps=1, hidden=(4,)),
    flows.RankedFlow: partial(flows.RankedFlow, steps=1, hidden=(4,)),
    ComposedFlow: AUGMENTED,
    flows.SurjectiveSplineFlow: flows.SurjectiveSplineFlow,
    LatentPriorFlow: partial(LatentPriorFlow, ambient=SMALL),
    flows.MixedFlow: partial(flows.MixedFlow, classes=[3, 0, 0, 2], flow=SMALL),
    PaddedFlow: PADDED,
    FreeFormFlow: FREE,
}


@pytest.mark.parametrize("kind", EMPTY, ids=lambda kind: kind.__name__)
@pytest.mark.parametrize("training", [True, False])
def test_no_rows_have_no_densities(kind, training):
    shape = (1, 4, 4) if kind is flows.Glow else (4,)
    flow = EMPTY[kind](shape).train(training)
    x = torch.zeros(0, *shape)
    assert flow.log_prob(x).shape == (0,)
    z = flow.encode(x)
    assert z.shape == (0, *flow.latent_shape)
    assert flow.decode(z).shape == x.shape
    assert flow.sample(0).shape == x.shape
    if kind in (PaddedFlow, FreeFormFlow):
        assert flow.ambient_log_prob(x, beta=1.0).shape == (0,)
