"""Arguments of a module are stored as plain data, or refused where it is made."""

from functools import partial
from pathlib import Path

import pytest
import torch
from torch import nn

from lightning_flows import (
    DensityModule,
    ExactVolume,
    PaddedFlow,
    RealNVP,
    RectangularModule,
)
from lightning_flows.bases import Density, Normal
from lightning_flows.core.errors import ConfigError
from lightning_flows.datamodules import Toy

SMALL = partial(RealNVP, layers=2, hidden=(8,))
Adam = torch.optim.Adam


class Shifted(RealNVP):
    """A user's flow.

    Args:
        event_shape: shape of one data point.
        shift: added to data.
    """

    def __init__(self, event_shape, shift, **options):
        super().__init__(event_shape, **options)
        self.shift = shift

    def log_prob(self, x, context=None):
        return super().log_prob(x + self.shift, context)


def made_by_a_function(shape, context_shape=None):
    return Shifted(shape, 3.0, layers=2, hidden=(8,), context_shape=context_shape)


@pytest.mark.parametrize("context_shape", [None, 3])
def test_what_a_function_makes_is_stored_by_its_own_arguments(
    context_shape, make_trainer, tmp_path
):
    for flow in (made_by_a_function, lambda shape, context_shape=None: made_by_a_function(
        shape, context_shape
    )):  # fmt: skip
        state = torch.get_rng_state()
        model = DensityModule(flow, 2, context_shape)
        drawn = torch.get_rng_state()
        torch.set_rng_state(state)
        flow((2,), context_shape=context_shape)
        assert torch.equal(torch.get_rng_state(), drawn)  # making it a second time draws nothing
        trainer = make_trainer()
        trainer.strategy.connect(model)
        trainer.save_checkpoint(tmp_path / "x.ckpt")
        again = model
        for _ in range(2):  # what is loaded can be stored
            again = DensityModule.load_from_checkpoint(tmp_path / "x.ckpt")
            trainer.strategy.connect(again)
            trainer.save_checkpoint(tmp_path / "x.ckpt")
        assert type(again.flow) is Shifted
        context = None if context_shape is None else torch.randn(32, 3)
        x = torch.randn(32, 2)
        assert torch.equal(again.log_prob(x, context), model.log_prob(x, context))
        assert dict(again.hparams) == dict(model.hparams)


class ByPosition(DensityModule):
    """Passes everything on."""

    def __init__(self, *args, **options):
        super().__init__(*args, **options)


class Positions(RealNVP):
    """Takes its widths by position."""

    def __init__(self, event_shape, *hidden):
        super().__init__(event_shape, layers=1, hidden=hidden)


class Probing(ExactVolume):
    """Takes its options by position."""

    def __init__(self, *probes):
        super().__init__()


class Kept(ExactVolume):
    """Takes a path, which its recipe holds as a string."""

    def __init__(self, path):
        super().__init__()
        self.stem = path.stem


class ByWeights(Density):
    """A density of a user that is made from a tensor."""

    def __init__(self, weights):
        super().__init__(2)
        self.weights = nn.Parameter(weights)

    def log_prob(self, x, context=None):
        return x.sum(1)

    def draw(self, n, context=None, temperature=1.0):
        return torch.zeros(n, 2)


PADDED = partial(PaddedFlow, latent_features=1, ambient=SMALL, prior=SMALL)
FUNCTION = partial(torch.optim.lr_scheduler.LambdaLR, lr_lambda=lambda step: 1.0)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: ByPosition(SMALL, 2), "ByPosition takes args by position alone, .* name each"),
        (lambda: DensityModule(lambda s: Positions(s, 8), 2), "flow: .* functools.partial"),
        (lambda: DensityModule(partial(SMALL, base=lambda s: Normal(s)), 2), "flow: .*lambda"),
        (
            lambda: DensityModule(lambda s: ByWeights(torch.ones(2)), 2),
            r"flow: .*partial\(Class",
        ),
        (
            lambda: DensityModule(SMALL, 2, optimizer=lambda p: Adam(p)),
            "optimizer: .*functools.part",
        ),
        (
            lambda: DensityModule(SMALL, 2, scheduler=FUNCTION),
            "scheduler: .*lambda.* cannot be sto",
        ),
        (
            lambda: RectangularModule(PADDED, 2, volume=Probing(1, 2)),
            "volume: .*Probing': got an une",
        ),
        (
            lambda: RectangularModule(PADDED, 2, volume=Kept(Path("x.npy"))),
            "volume: .*Kept cannot be made again .*: AttributeError: 'str' object has no attribute",
        ),
    ],
    ids=["*args", "flow", "base", "net", "optimizer", "scheduler", "part by position", "path"],
)
def test_what_cannot_be_made_again_is_refused_at_construction(make, message):
    with pytest.raises(ConfigError, match=message) as caught:
        make()
    assert "\n" not in str(caught.value)


class Own(DensityModule):
    """A user's family with an option of its own.

    Args:
        flow: makes the flow.
        event_shape: shape of one data point.
        noise: standard deviation of what is added to training data.
    """

    def __init__(self, flow, event_shape, *, noise=0.0, **options):
        super().__init__(flow, event_shape, **options)
        self.noise = noise
        self.extra = nn.Linear(1, 1)


def test_a_subclass_keeps_its_own_options(make_trainer, tmp_path):
    model = Own(SMALL, 2, noise=0.3, optimizer=partial(Adam, lr=0.1))
    trainer = make_trainer(max_steps=1)
    trainer.fit(model, Toy("moons", n_train=256, n_val=64, n_test=64))
    trainer.save_checkpoint(tmp_path / "x.ckpt")
    again = Own.load_from_checkpoint(tmp_path / "x.ckpt")
    assert again.noise == 0.3
    assert again.configure_optimizers().param_groups[0]["lr"] == 0.1
