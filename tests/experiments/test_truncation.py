"""Latents that the truncation curve picks."""

import pytest
import torch

from experiments.common.results import Results
from experiments.ranks.run import Linear
from experiments.truncation import run as truncation
from experiments.truncation.page import page


@pytest.mark.filterwarnings("ignore:The training data has no density")
def test_as_many_latents_are_picked_as_a_table_has_rank():
    generator = torch.Generator().manual_seed(0)
    rows = torch.randn(6400, 2, generator=generator) * torch.tensor([1.0, 0.2])
    rows = rows @ torch.randn(2, 4, generator=generator)
    found = truncation.table(Linear, rows, rows[:50], seed=0, steps=400)
    assert found.dimension == found.curve.nll.argmin() == 2
    variances = torch.linalg.eigvalsh(rows[:50].double().mT @ rows[:50].double() / 50).flip(0)
    gains = found.curve.error[:2] - found.curve.error[1:3]
    torch.testing.assert_close(gains, variances[:2], rtol=0.05, atol=1e-4)


def test_a_surface_lies_in_space_with_noise_all_around():
    points = truncation.embedded("sphere", 0)["test"]
    variances = torch.linalg.eigvalsh(torch.cov(points.double().T)).flip(0)
    assert (variances[:3] > 0.2).all()
    assert variances[3:] == pytest.approx(truncation.NOISE**2, rel=0.15)
    found = truncation.surface(points[:512], points[:20], seed=0, steps=2)
    assert found.curve.error.shape == (truncation.LATENTS + 1,)


def test_runs_are_counted_by_what_they_pick():
    runs = [
        {"data": data, "flow": "one", "seed": seed, "noise": 0.1, "dimension": dimension}
        | {"likeliest": 2, "local": 2.0, "error": [5.0, 3.0, 1.0, 0.8]}
        for data, seed, dimension in (("sphere", 0, 3), ("sphere", 1, 2), ("naval", 0, 2))
    ]
    facts = {"dimensions": {"sphere": 2, "naval": 2}, "threshold": 5.0, "points": 9, "batch": 9}
    facts |= {"space": 20, "noise": 0.1, "rates": [0.1, 0.1]}
    found = page(Results("", {"steps": 1, "seeds": 2}, facts=facts, runs=runs))
    assert found.answer.endswith("in 1 for sphere (one), 1 for naval (one).")
    assert [row[:4] for row in found.rows] == [
        ["sphere, one", "2", "2 (1), 3 (1)", "2 (2)"],
        ["naval, one", "2", "2 (1)", "2 (1)"],
    ]
