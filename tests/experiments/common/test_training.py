"""Training by a Trainer for a number of steps."""

import math
from functools import partial

import pytest
import torch

from experiments.common.training import Budget, fit
from lightning_flows.datamodules import Arrays
from lightning_flows.flows import NICE
from lightning_flows.modules import DensityModule

FLOW = partial(NICE, layers=1, hidden=(4,))


def data(rows=40, val=None):
    parts = {"train": torch.randn(rows, 2), "val": torch.randn(8, 2) if val is None else val}
    return Arrays(data=parts, batch_size=8, standardize=False, test=0)


@pytest.mark.parametrize(("steps", "budget"), [(12, (4, 3)), (100, (20, 5)), (2, (2, 1))])
def test_steps_are_cut_into_epochs_that_the_data_suffices_for(steps, budget):
    assert Budget.of(data(), steps, epochs=4) == Budget(*budget)


def test_the_rate_falls_to_zero_and_every_step_is_taken():
    budget = Budget(3, 2)
    module = DensityModule(FLOW, 2, **budget.recipe(0.1))
    assert fit(module, data(), budget)
    assert module.trainer.global_step == 6
    assert not module.training
    assert module.trainer.optimizers[0].param_groups[0]["lr"] == pytest.approx(0, abs=1e-12)


def test_the_best_epoch_is_kept():
    far = torch.full((8, 2), 100.0)  # what training makes worse, epoch by epoch
    scores = []
    for best in (False, True):
        torch.manual_seed(0)
        budget = Budget(6, 5)
        module = DensityModule(FLOW, 2, **budget.recipe(0.05))
        fit(module, data(val=far), budget, best=best)
        scores.append(module.log_prob(far).mean().item())
    assert scores[1] > scores[0]


def test_a_run_that_broke_is_told():
    budget = Budget(1, 2)
    module = DensityModule(FLOW, 2, **budget.recipe(math.inf))
    assert not fit(module, data(), budget)


def test_an_epoch_of_warm_up_follows_from_the_share():
    assert Budget(25, 1).warmup(0.2) == (5, 5)
