"""A manifold first, the density on it second, and neither moves in the other's step."""

from functools import partial

import lightning.pytorch as pl
import pytest
import torch

from lightning_flows import FreeFormFlow, PaddedFlow, RealNVP, TwoStepModule
from lightning_flows.core.errors import ConfigError
from lightning_flows.datamodules import Arrays
from lightning_flows.nets import MLPDecoder, MLPEncoder

SMALL = partial(RealNVP, layers=2, hidden=(8,))
FLOWS = {
    "free_form": partial(
        FreeFormFlow,
        latent_features=2,
        encoder=partial(MLPEncoder, hidden=(8,)),
        decoder=partial(MLPDecoder, hidden=(8,)),
        prior=SMALL,
    ),
    "padded": partial(
        PaddedFlow, latent_features=2, ambient=SMALL, prior=partial(SMALL, actnorm=True)
    ),
}
each_flow = pytest.mark.parametrize("flow", FLOWS)


def table():
    x = torch.randn(100, 4, generator=torch.Generator().manual_seed(1))
    return Arrays(data=x * torch.tensor([3.0, 2.0, 1.0, 0.5]), batch_size=20)


class Watch(pl.Callback):
    """Weights at the start and after every epoch, and names of parameters without a gradient."""

    def __init__(self):
        self.weights, self.missing = [], set()

    def keep(self, module):
        self.weights.append({k: v.clone() for k, v in module.flow.named_parameters()})

    def on_after_backward(self, trainer, module):
        if not self.weights:  # after data-dependent initialization
            self.keep(module)
        self.missing |= {name for name, p in module.named_parameters() if p.grad is None}

    def on_train_epoch_end(self, trainer, module):
        self.keep(module)


def run(flow, epochs, make_trainer, ckpt_path=None, seed=0, optimizer=None):
    pl.seed_everything(seed, verbose=False)
    watch = Watch()
    model = TwoStepModule(FLOWS[flow], 4, manifold_epochs=2, optimizer=optimizer)
    # momentum, decay and clipping must not move what rests
    trainer = make_trainer(max_epochs=epochs, callbacks=[watch], gradient_clip_val=1.0)
    trainer.fit(model, table(), ckpt_path=ckpt_path)
    return trainer, model, watch


@each_flow
@pytest.mark.parametrize(
    "optimizer",
    [
        None,
        partial(torch.optim.AdamW, lr=1e-2, weight_decay=0.1),
        partial(torch.optim.SGD, lr=1e-3, momentum=0.9, weight_decay=0.1),
    ],
    ids=["Adam", "AdamW", "SGD"],
)
def test_neither_moves_in_the_others_step(flow, optimizer, make_trainer):
    trainer, model, watch = run(flow, 4, make_trainer, optimizer=optimizer)
    assert not watch.missing
    start, _, middle, _, end = watch.weights
    for name in start:
        resting = [(start, middle)] if name.startswith("prior.") else [(middle, end)]
        moving = [(middle, end)] if name.startswith("prior.") else [(start, middle)]
        for before, after in resting:
            assert torch.equal(before[name], after[name]), name
        for before, after in moving:
            assert not torch.equal(before[name], after[name]), name
    assert not model.learns_manifold
    assert trainer.callback_metrics["val/nll"].isfinite()


@pytest.mark.filterwarnings("ignore:.*exists and is not empty")
@each_flow
@pytest.mark.parametrize("epochs", [1, 2, 3])
def test_a_run_resumed_in_either_step_is_the_run(flow, epochs, make_trainer, tmp_path):
    _, whole, _ = run(flow, 4, make_trainer)
    part, _, _ = run(flow, epochs, make_trainer)
    part.save_checkpoint(tmp_path / "x.ckpt")
    _, resumed, _ = run(flow, 4, make_trainer, tmp_path / "x.ckpt", seed=1)
    for key, value in whole.state_dict().items():
        assert torch.equal(value, resumed.state_dict()[key]), key


def test_each_step_has_its_own_loss(make_trainer):
    model = TwoStepModule(FLOWS["padded"], 4, manifold_epochs=1, reconstruction=7.0)
    x = torch.randn(8, 4)
    loss, parts = model.training_loss(x, None)
    u = model.flow.project(x)
    torch.testing.assert_close(loss, 7.0 * (x - model.flow.embed(u)).square().sum(1))
    torch.testing.assert_close(parts["nll_prior"], -model.flow.prior.log_prob(u))
    trainer = make_trainer(max_epochs=2)
    trainer.fit(model, table())
    logged = trainer.callback_metrics
    assert logged["train/loss"] == pytest.approx(float(logged["train/nll_prior"]))


def test_a_checkpoint_rebuilds_it(make_trainer, tmp_path):
    trainer, model, _ = run("free_form", 3, make_trainer)
    trainer.save_checkpoint(tmp_path / "x.ckpt")
    again = TwoStepModule.load_from_checkpoint(tmp_path / "x.ckpt", weights_only=True)
    x = torch.randn(8, 4)
    assert torch.equal(again.log_prob(x), model.log_prob(x))
    assert again.manifold_epochs == 2


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"manifold_epochs": 0}, "manifold_epochs is 0"),
        ({"reconstruction": 0.0}, "beta is 0.0"),
        ({"noise": -1.0}, "noise is -1.0"),
    ],
)
def test_options_out_of_range_are_refused(options, message):
    with pytest.raises(ConfigError, match=message):
        TwoStepModule(FLOWS["padded"], 4, **options)
