"""The least divergence of flows that preserve volume, and how it is measured."""

import math

import pytest
import torch

from experiments.common.results import Results
from experiments.volume_preserving import run as volume_preserving
from experiments.volume_preserving.page import page
from lightning_flows.bases import Normal, NormalMixture


def test_two_equal_normals_take_twice_the_volume():
    """Each level set has two copies, so a scale of √2 repairs all, and log 2 = H - H(normal)."""
    found = volume_preserving.best(0.5)
    assert found.scale == pytest.approx(math.sqrt(2), abs=1e-4)
    assert found.scaled == pytest.approx(0, abs=1e-5)
    assert found.fixed == pytest.approx(1 - math.log(2), abs=1e-5)  # s² - 1 - log s² at s² = 2


def test_unequal_ones_are_not_repaired_by_a_scale():
    found = volume_preserving.best(0.9)
    assert 0.02 < found.scaled < found.fixed < 0.1


def test_divergences_are_measured():
    mixture = NormalMixture(2, components=2)
    with torch.no_grad():
        mixture.loc.copy_(torch.tensor([[-5.0, 0.0], [5.0, 0.0]]))
        mixture.logits.copy_(torch.tensor([0.8, 0.2]).log())
    assert volume_preserving.divergence(0.8, mixture) == pytest.approx(0, abs=1e-5)
    entropy = 1 + math.log(2 * math.pi) - 0.8 * math.log(0.8) - 0.2 * math.log(0.2)
    wide = volume_preserving.divergence(0.8, Normal(2, scale=5.0))
    expected = math.log(2 * math.pi * 25) + (25 + 2) / 50 - entropy
    assert wide == pytest.approx(expected, abs=1e-4)
    x = volume_preserving.draw(0.8, 50_000, seed=0)
    assert (x[:, 0] < 0).float().mean().item() == pytest.approx(0.8, abs=0.01)
    assert -volume_preserving.log_density(0.8, x).mean().item() == pytest.approx(entropy, abs=0.02)


@pytest.mark.filterwarnings("ignore:Every layer of NICE preserves volume")
@pytest.mark.parametrize("name", volume_preserving.FLOWS)
def test_every_flow_trains(name, monkeypatch):
    monkeypatch.setattr(volume_preserving, "CELL", 0.25)
    assert 0 < volume_preserving.train(name, 0.8, seed=0, steps=2) < 20


def test_the_page_says_how_far_each_is_above_the_least():
    facts = {
        "weights": [0.5], "scales": [1.4], "layers": 1, "hidden": [8], "rows": 9, "batch": 9,
        "rate": 0.1, "best": {"fixed base": [0.3], "radial base": [0.0]},
    }  # fmt: skip
    runs = [
        {"flow": flow, "weight": 0.5, "seed": seed, "divergence": value + seed / 100}
        for flow, value in (("fixed base", 0.31), ("radial base", 0.0))
        for seed in (0, 1)
    ]
    found = page(Results("", {"steps": 1, "seeds": 2}, facts=facts, runs=runs))
    assert "+0.0150 to +0.0150 with a fixed base, +0.0050 to +0.0050 with a radial" in found.answer
    assert found.rows[0][1].endswith("; 0.3000")
