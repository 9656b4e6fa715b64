"""The experiment on stability runs, tells divergence, and measures curvature."""

import math

import pytest
import torch

from experiments.common.results import Results
from experiments.stability import run as stability
from experiments.stability.page import page


@pytest.fixture(autouse=True)
def few(monkeypatch):
    monkeypatch.setattr(stability, "ROWS", 512)
    monkeypatch.setattr(stability, "TEST", 64)


def test_every_volume_is_reported_and_drawn(tmp_path, monkeypatch):
    methods = dict(list(stability.METHODS.items())[:4])
    monkeypatch.setattr(stability, "METHODS", methods)
    out, figure = tmp_path / "results.json", tmp_path / "sine.png"
    stability.main(["--seeds", "1", "--steps", "2", "--out", str(out), "--figure", str(figure)])
    found = page(Results.load(out))
    assert [row[0] for row in found.rows] == list(methods)
    assert found.head[1:] == ["β = 1", "β = 3", "β = 10"]
    assert figure.read_bytes().startswith(b"\x89PNG")


def test_a_run_that_broke_is_told(monkeypatch):
    monkeypatch.setattr(stability, "RATE", math.inf)
    broken = stability.train(stability.METHODS["encoder at x"], 1.0, 0, 2)
    assert math.isnan(broken.nll)
    assert broken.curvature == math.inf


def test_curvature_of_a_circle_is_one_by_its_radius():
    class Circle:
        def embed(self, u):
            return 4 * torch.cat([u.cos(), u.sin()], 1)

    u = torch.linspace(0, 3, 7, dtype=torch.float64)[:, None]
    torch.testing.assert_close(stability.curvature(Circle(), u), torch.full((7,), 0.25).double())
