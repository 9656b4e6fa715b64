"""What another block could gain, as a callback says it, and blocks that are trained in turn."""

import logging
from functools import partial

import lightning.pytorch as pl
import numpy as np
import pytest
import torch
from lightning.pytorch.callbacks import ModelCheckpoint
from lightning.pytorch.loggers import CSVLogger

from lightning_flows import DensityModule, FreeFormFlow, FreeFormModule, RealNVP
from lightning_flows.bases import Normal
from lightning_flows.callbacks import AffineGainMonitor, GreedyBlocks
from lightning_flows.core.errors import ConfigError
from lightning_flows.datamodules import Arrays
from lightning_flows.flows import ComposedFlow
from lightning_flows.metrics import affine_gain
from lightning_flows.transforms import AffineCoupling, Orthogonal

pytestmark = pytest.mark.filterwarnings("ignore:.*(does not have many|smaller than the logging)")
COUPLINGS = partial(RealNVP, layers=3, hidden=(16,))


def bent(n=800):
    x = torch.randn(n, 2, generator=torch.Generator().manual_seed(0))
    x[:, 1] = x[:, 0].square() + 0.3 * x[:, 1]
    return Arrays(data=x, validation=0.5, test=0.0, batch_size=50)


def normal(n=800):
    x = torch.randn(n, 2, generator=torch.Generator().manual_seed(0))
    return Arrays(data=x, validation=0.5, test=0.0, batch_size=200, standardize=False)


still = partial(torch.optim.SGD, lr=0.0)


def run(tmp_path, *callbacks, **options):
    defaults = {
        "accelerator": "cpu",
        "default_root_dir": tmp_path,
        "logger": CSVLogger(tmp_path, name="log", version=0),
        "enable_checkpointing": False,
        "enable_progress_bar": False,
        "enable_model_summary": False,
        "log_every_n_steps": 1,
    }
    return pl.Trainer(callbacks=[*callbacks], **{**defaults, **options})


def logged(tmp_path, name):
    table = np.genfromtxt(tmp_path / "log/version_0/metrics.csv", delimiter=",", names=True)
    values = np.atleast_1d(table[name.replace("/", "")])
    return values[~np.isnan(values)]


@pytest.mark.parametrize(("data", "helps"), [(bent, True), (normal, False)])
def test_the_monitor_logs_the_gain_of_validation_latents_and_says_what_follows(
    tmp_path, caplog, data, helps
):
    data = data()
    model = DensityModule(COUPLINGS, 2, optimizer=still)
    with caplog.at_level(logging.INFO, logger="lightning.pytorch"):
        monitor = AffineGainMonitor(200, rotations=2, every_n_epochs=1)
        run(tmp_path, monitor, max_epochs=1).fit(model, data)
    x = torch.stack([data.val_dataloader().dataset[i]["x"] for i in range(200)])
    with torch.no_grad():
        expected = affine_gain(model.encode(x), rotations=2)
    assert (expected.gain > 2 * expected.standard_error) == helps
    for name, value in (("", expected.gain), ("_se", expected.standard_error)):
        found = logged(tmp_path, f"val/affine_gain{name}")
        assert found == pytest.approx([float(value)], abs=1e-6)
    said = [m for m in caplog.messages if "One more affine coupling block would gain" in m]
    assert len(said) == int(helps)


class Watch(pl.Callback):
    """Weights of each block after every epoch."""

    def __init__(self):
        self.seen = []

    def on_train_epoch_end(self, trainer, pl_module):
        layers = [part for part in pl_module.flow.transform.sequence if [*part.parameters()]]
        self.seen.append([torch.cat([p.flatten() for p in x.parameters()]).clone() for x in layers])


def test_blocks_are_trained_in_turn(tmp_path):
    greedy, watch = GreedyBlocks(epochs=2, points=200), Watch()
    model = DensityModule(partial(COUPLINGS, layers=2), 2)
    watch.on_train_epoch_end(None, model)
    trainer = run(tmp_path, greedy, watch, max_epochs=9)
    trainer.fit(model, bent())
    moved = [
        [not torch.equal(old, new) for old, new in zip(*pair, strict=True)]
        for pair in zip(watch.seen, watch.seen[1:], strict=False)
    ]
    assert moved == [[True, False]] * 2 + [[False, True]] * 2  # and then there is no other block
    assert trainer.current_epoch == 4
    first, second = (layer.net.layers[0].weight for layer in model.flow.transform.sequence)
    state = trainer.optimizers[0].state
    assert (state[first]["step"], state[second]["step"]) == (16, 16)
    gains = logged(tmp_path, "val/affine_gain")
    assert len(gains) == 2


def test_it_stops_where_no_block_helps(tmp_path):
    trainer = run(tmp_path, greedy := GreedyBlocks(epochs=1, points=200), max_epochs=5)
    trainer.fit(DensityModule(COUPLINGS, 2, optimizer=still), normal())
    assert (trainer.current_epoch, greedy.block) == (1, 0)


def test_a_run_that_is_resumed_goes_on_with_its_block(tmp_path):
    """And the checkpoint alone gives the flow of the blocks that were trained so far."""
    make = partial(DensityModule, partial(COUPLINGS, layers=4), 2)
    torch.manual_seed(0)
    whole = make()
    whole_run = run(tmp_path / "whole", one := GreedyBlocks(epochs=1, points=200), max_epochs=2)
    whole_run.fit(whole, bent())
    torch.manual_seed(0)
    saver = partial(ModelCheckpoint, save_last=True, save_top_k=0)
    options = {"enable_checkpointing": True}
    first, parts = make(), (GreedyBlocks(epochs=1, points=200), saver(tmp_path))
    run(tmp_path / "a", *parts, max_epochs=1, **options).fit(first, bent())
    path = tmp_path / "last.ckpt"
    again = DensityModule.load_from_checkpoint(path).eval()
    x = torch.randn(5, 2)
    with torch.no_grad():
        assert torch.equal(again.log_prob(x), first.eval().log_prob(x))
    assert not again.flow.transform.sequence[-1].encode(x)[1].any()
    resumed = make()
    parts = (other := GreedyBlocks(epochs=1, points=200), saver(tmp_path))
    run(tmp_path / "b", *parts, max_epochs=2, **options).fit(resumed, bent(), ckpt_path=path)
    assert one.block == other.block == 2
    for left, right in zip(whole.parameters(), resumed.parameters(), strict=True):
        torch.testing.assert_close(left, right, rtol=0, atol=0)


def test_refuses_what_has_no_blocks(tmp_path):
    def setup(callback, module):
        callback.setup(run(tmp_path), module, "fit")

    with pytest.raises(ConfigError, match="epochs is 0"):
        GreedyBlocks(0)
    with pytest.raises(ConfigError, match="such as RealNVP; FreeFormModule has a FreeFormFlow"):
        setup(GreedyBlocks(), FreeFormModule(partial(FreeFormFlow, latent_features=1), 2))
    learned = partial(Normal, learned=True)
    with pytest.raises(ConfigError, match="needs a standard normal base; Normal has parameters"):
        setup(GreedyBlocks(), DensityModule(partial(COUPLINGS, base=learned), 2))
    with pytest.raises(ConfigError, match="layers is 2; RealNVP has 3 layers with parameters"):
        setup(GreedyBlocks(layers=2), DensityModule(COUPLINGS, 2))
    turned = partial(ComposedFlow, layers=[Orthogonal, AffineCoupling] * 2)
    setup(GreedyBlocks(layers=2), DensityModule(turned, 2))
