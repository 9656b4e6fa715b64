"""The experiment on the circle runs, and measures what it says."""

import math

import pytest
import torch
from torch import nn

from experiments.circle import run as circle
from experiments.circle.page import page
from experiments.common.results import Results
from lightning_flows.bases import Uniform
from lightning_flows.datamodules import Toy


class Opened(nn.Module):
    """The circle cut open at ±π, exactly."""

    manifold_shape = (1,)

    def project(self, x):
        return torch.atan2(x[:, 1:], x[:, :1])

    def embed(self, u):
        return torch.cat([u.cos(), u.sin()], 1)


def test_a_uniform_density_on_the_circle_has_the_divergence_of_the_closed_form():
    prior = Uniform(1, low=-math.pi, high=math.pi)
    found = circle.measure(Opened(), prior, Toy("von_mises_circle"))
    # KL(von Mises ‖ uniform) = κ I1(κ)/I0(κ) - log I0(κ), κ = 2
    kappa = torch.tensor(2.0, dtype=torch.float64)
    ratio = torch.special.i1e(kappa) / torch.special.i0e(kappa)
    expected = kappa * ratio - torch.special.i0(kappa).log()
    assert found.kl == pytest.approx(expected.item(), abs=1e-5)
    assert found.mass == pytest.approx(1, abs=1e-5)
    assert found.error == pytest.approx(0, abs=1e-10)


def test_every_method_is_reported_and_drawn(tmp_path, monkeypatch):
    monkeypatch.setattr(circle, "POINTS", 64)
    monkeypatch.setattr(circle, "GRID", 400)
    out, figure = tmp_path / "new" / "circle.json", tmp_path / "circle.png"
    circle.main(["--seeds", "1", "--steps", "3", "--out", str(out), "--figure", str(figure)])
    assert [row[0] for row in page(Results.load(out)).rows] == [*circle.METHODS]
    assert figure.read_bytes().startswith(b"\x89PNG")


def test_the_second_step_finds_the_density_of_the_latents():
    u = 3 + 2 * torch.rand(6000, 1)
    prior = circle.fit_spline(u, 150, 0)
    inside = torch.linspace(3.2, 4.8, 50)[:, None]
    assert prior.log_prob(inside).exp().mean().item() == pytest.approx(0.5, abs=0.03)
