"""Flows with added noise run and are reported; the integral over the noise is right."""

import math
from functools import partial

import pytest
import torch

from experiments.augmentation import run as augmentation
from experiments.augmentation.page import page
from experiments.common import pairs
from experiments.common.results import Results
from lightning_flows.flows import ComposedFlow, RealNVP
from lightning_flows.modules import SurjectiveModule
from lightning_flows.transforms import Augment


def test_bounds_stand_beside_the_density(tmp_path, monkeypatch):
    monkeypatch.setattr(augmentation, "BOUNDED", 3)
    monkeypatch.setattr(augmentation, "CASES", augmentation.CASES[2:])
    monkeypatch.setattr(pairs, "ROWS", {"n_train": 50, "n_val": 0, "n_test": 20})
    out = tmp_path / "results.json"
    augmentation.main(["--seeds", "2", "--steps", "1", "--draws", "40", "--out", str(out)])
    results = Results.load(out)
    for run in results.runs[1::2]:
        assert run["elbo"] < run["iwbo"] < run["log_prob"] + 0.3
    (row,) = page(results).rows
    assert row[0] == "spline"
    assert " to " in row[-1]


@pytest.mark.parametrize("case", augmentation.CASES, ids=lambda case: case.name)
def test_flows_differ_by_what_the_noise_takes(case):
    first, second = case.sizes
    assert first < second < (1.05 if case.name == "spline" else 1.2) * first


@pytest.mark.parametrize("added", [1, 2])
@torch.no_grad()
def test_the_integral_is_what_many_draws_find(added):
    torch.manual_seed(0)
    layers = [partial(Augment, add=added), partial(RealNVP, layers=2, hidden=(8,))]
    model = SurjectiveModule(partial(ComposedFlow, layers=layers), 2, chunk_size=2000).eval()
    for parameter in model.parameters():
        parameter += 0.1 * torch.randn_like(parameter)
    x = torch.randn(6, 2)
    weights = model.log_weights(x, n=20_000)
    found = weights.logsumexp(1) - math.log(20_000)
    torch.testing.assert_close(augmentation.integral(model, x), found, atol=0.05, rtol=0)
