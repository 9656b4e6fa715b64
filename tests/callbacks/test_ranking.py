"""Rankings by contribution: what is measured, and the callback that sets the order."""

from functools import partial

import lightning.pytorch as pl
import pytest
import torch
from module_cases import CASES

from lightning_flows import DensityModule, RankedFlow, RealNVP
from lightning_flows.callbacks import ContributionRanking
from lightning_flows.core.errors import ConfigError
from lightning_flows.core.noise import Placed
from lightning_flows.datamodules import Arrays, Digits
from lightning_flows.transforms import (
    ActNorm,
    AffineCoupling,
    Chain,
    LULinear,
    Permutation,
    Ranking,
    Slice,
    SplineAutoregressive,
    Squeeze,
)
from lightning_flows.transforms.bijections.ranking import entry_contributions
from proofs.common import make, near
from proofs.module_training import (
    a_checkpoint_of_the_last_batch_of_an_epoch_goes_on_as_the_run,
)
from resumed import check_resumed, resume

pytestmark = pytest.mark.filterwarnings("ignore:.*val(_dataloader|idation_step)")
SMALL = partial(RankedFlow, steps=2, hidden=(8,))


@pytest.mark.parametrize(
    "build",
    [
        lambda: Chain([ActNorm(5), AffineCoupling(5, hidden=(8,)), Permutation(5)]),
        lambda: Chain([SplineAutoregressive(4, hidden=(8,)), LULinear(4), ActNorm(4)]),
        lambda: Chain([Squeeze((1, 4, 4)), AffineCoupling((4, 2, 2), hidden=(4,))]),
        lambda: Chain([Ranking((2, 2, 4)), ActNorm((8, 1, 2)), LULinear((8, 1, 2))]),
    ],
)
def test_entries_share_the_contribution(build):
    t = make(build)
    x = torch.randn(3, *t.event_shape, dtype=torch.float64)
    z, each = entry_contributions(t, x)
    expected, contribution = t.encode(x)
    near(z, expected)
    near(each.flatten(1).sum(1), contribution)


def test_an_entry_has_its_own_slope_and_takes_it_along():
    coupling = make(lambda: AffineCoupling(4, hidden=(8,)))
    x = torch.randn(1, 4, dtype=torch.float64)
    slopes = torch.autograd.functional.jacobian(lambda v: coupling.encode(v)[0][0], x)[:, 0]
    order = [2, 0, 3, 1]
    _, each = entry_contributions(Chain([coupling, Permutation(4, order)]), x)
    near(each[0], slopes.diagonal().log()[order])
    with pytest.raises(ConfigError, match="Slice does not lead each entry to one entry"):
        entry_contributions(Slice(4, 2), x)


@pytest.mark.parametrize("early", ["high", "low"])
def test_an_image_is_ranked_inside_of_its_blocks(early):
    ranking = Ranking((2, 4, 4), early=early)
    x = torch.arange(32.0).reshape(1, 2, 4, 4)
    static = ranking.encode(x)[0]
    assert static[0, :4, 0, 0].tolist() == [0, 16, 5, 21]  # a checkerboard in both channels
    scores = torch.randn(2, 4, 4)
    ranking.rank(scores)
    z = ranking.encode(scores[None])[0].reshape(4, 2, 2, 2)
    expected = (
        Squeeze((2, 4, 4))
        .encode(scores[None])[0]
        .reshape(2, 4, 2, 2)
        .sort(1, descending=early == "high")
    )
    assert torch.equal(z, expected.values.transpose(0, 1))


def table():
    x = torch.randn(128, 3, generator=torch.Generator().manual_seed(0))
    x[:, 1] = 0.05 * x[:, 0] + 0.01 * x[:, 1]
    return Arrays(data=x, batch_size=32, validation=0.25, test=0.0, standardize=False)


class Look(pl.Callback):
    def __init__(self):
        self.seen = []

    def on_train_epoch_end(self, trainer, pl_module):
        self.seen.append(list(pl_module.flow.ranked))


def test_splits_are_ranked_in_turn_and_once(tmp_path):
    options = {
        "accelerator": "cpu",
        "default_root_dir": tmp_path,
        "logger": False,
        "enable_checkpointing": False,
        "enable_progress_bar": False,
        "enable_model_summary": False,
        "num_sanity_val_steps": 0,
    }
    model = DensityModule(partial(SMALL, levels=3), 3)
    look = Look()
    trainer = pl.Trainer(max_epochs=4, callbacks=[ContributionRanking(2), look], **options)
    trainer.fit(model, table())
    assert look.seen == [[False] * 2, [True, False], [True, False], [True, True]]
    # the narrow column has the largest slopes; interleaving has put it last
    assert model.flow.rankings[0].order[0] == 2
    path = tmp_path / "x.ckpt"
    trainer.save_checkpoint(path)
    again = DensityModule.load_from_checkpoint(path, weights_only=True)
    for one, other in zip(again.flow.rankings, model.flow.rankings, strict=True):
        assert torch.equal(one.order, other.order)
        assert one.ranked
    again.flow.rankings[0].rank(torch.tensor([2.0, 0.0, 1.0]))
    order = again.flow.rankings[0].order.clone()
    trainer = pl.Trainer(max_epochs=3, callbacks=[ContributionRanking(1)], **options)
    trainer.fit(again, table())
    assert torch.equal(again.flow.rankings[0].order, order)


def test_refuses_what_cannot_be_ranked(tmp_path):
    with pytest.raises(ConfigError, match="epochs is 0"):
        ContributionRanking(0)
    with pytest.raises(ConfigError, match="such as RankedFlow; DensityModule has a RealNVP"):
        ContributionRanking().setup(None, DensityModule(partial(RealNVP, layers=1), 3), "fit")
    with pytest.raises(ConfigError, match="early is 'best'; accepted are 'high' and 'low'"):
        Ranking(3, early="best")


class Once(ContributionRanking):
    """Remembers what the splits were ranked by, and under which random states."""

    def __init__(self):
        super().__init__(1)
        self.batches, self.states = [], []

    def on_train_batch_end(self, trainer, pl_module, outputs, batch, batch_idx):
        before, training = torch.get_rng_state(), pl_module.training
        super().on_train_batch_end(trainer, pl_module, outputs, batch, batch_idx)
        self.states.append(torch.equal(torch.get_rng_state(), before) and training)
        assert pl_module.training
        self.batches.append(batch["x"])


class Still(torch.optim.SGD):
    def step(self, closure):
        return closure()


def test_images_are_ranked_by_values_of_evaluation_mode(tmp_path):
    data, callback = Digits(validation=20, test=1600, batch_size=64), Once()
    flow = partial(RankedFlow, steps=1, hidden=(4,), actnorm=False)
    torch.manual_seed(0)
    model = DensityModule(flow, data.event_shape, optimizer=partial(Still, lr=0.0))
    with torch.no_grad():
        for parameter in model.parameters():
            parameter += 0.1 * torch.randn_like(parameter)
    scores = []
    model.flow.rank = lambda split, mean: scores.append(mean)
    trainer = pl.Trainer(
        max_epochs=1,
        callbacks=[callback],
        accelerator="cpu",
        default_root_dir=tmp_path,
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        num_sanity_val_steps=0,
        limit_val_batches=0,
    )
    trainer.fit(model, data)
    assert callback.states == [True] * len(callback.batches)
    model.eval()  # where dequantization is a hash of the image, whatever the random state
    torch.manual_seed(5)
    x = torch.cat(callback.batches)
    with torch.no_grad(), Placed(torch.arange(len(x))):
        y = model.to_model_space(x)[0]
        expected = model.flow.contributions(y, 0).mean(0)
    assert len(scores) == 1
    torch.testing.assert_close(scores[0], expected)


@pytest.mark.filterwarnings("ignore:.*does not have many workers")
def test_a_run_that_is_resumed_ranks_as_the_run(tmp_path):
    resume(tmp_path, CASES["density (ranked)"], 1)
    check_resumed(tmp_path, 1)


def test_a_split_that_is_due_after_a_resume_between_epochs_is_ranked_then():
    later = CASES["density (ranked)"]._replace(callbacks=lambda: [ContributionRanking(epochs=2)])
    a_checkpoint_of_the_last_batch_of_an_epoch_goes_on_as_the_run(later)
