"""The iterative route of the stochastic volume does what the direct one does."""

import math

import pytest
import torch
from torch import nn

from lightning_flows.jacobians import log_volume
from lightning_flows.objectives import ExactVolume, StochasticVolume, stochastic
from lightning_flows.objectives.stochastic import probes_like

D, LATENT, BATCH = 8, 5, 6


@pytest.fixture
def decoder():
    torch.manual_seed(1)
    net = nn.Sequential(nn.Linear(LATENT, 7), nn.Tanh(), nn.Linear(7, D)).double()
    skip = torch.randn(D, LATENT, dtype=torch.float64)
    return nn.ModuleDict({"net": net}), lambda u: net(u) + u @ skip.T


def gradient(strategy, parameters, decode, u):
    torch.manual_seed(3)
    volume = strategy(lambda x: x, decode, u).log_volume.sum()
    found = torch.autograd.grad(volume, parameters, materialize_grads=True)
    return torch.cat([part.flatten() for part in found])


@pytest.mark.parametrize("direct", [0, 1])
def test_with_the_same_probes_both_routes_have_the_same_gradient(decoder, direct):
    module, decode = decoder
    u = torch.randn(BATCH, LATENT, dtype=torch.float64, requires_grad=True)
    parameters = [u, *module.parameters()]
    iterative = StochasticVolume(3, direct=direct, tolerance=1e-12)
    torch.testing.assert_close(
        gradient(iterative, parameters, decode, u),
        gradient(StochasticVolume(3), parameters, decode, u),
    )


def test_the_iterative_gradient_is_unbiased_at_the_default_tolerance(decoder):
    module, decode = decoder
    u = torch.randn(BATCH, LATENT, dtype=torch.float64)
    parameters = list(module.parameters())
    exact = gradient(ExactVolume(), parameters, decode, u)
    torch.manual_seed(0)
    draws = []
    for _ in range(120):
        volume = StochasticVolume(8, direct=0)(lambda x: x, decode, u).log_volume.sum()
        found = torch.autograd.grad(volume, parameters, materialize_grads=True)
        draws.append(torch.cat([part.flatten() for part in found]))
    along = torch.stack(draws) @ exact / exact.square().sum()
    error = along.std() / len(draws) ** 0.5
    assert error < 0.03
    assert abs(along.mean() - 1) < 3 * error


def test_what_the_iterations_did_can_be_read(decoder):
    _, decode = decoder
    u = torch.randn(BATCH, LATENT, dtype=torch.float64)
    strategy = StochasticVolume(2, direct=LATENT - 1, tolerance=1e-6)
    embedded = strategy(lambda x: x, decode, u)
    assert not embedded.log_volume.any()  # the value is unknown; only the gradient counts
    solution = embedded.solution
    assert solution.residuals.shape == (2, BATCH)
    assert solution.residuals.max() < 1e-5
    assert 2 <= solution.iterations <= LATENT // 2 + 21
    direct = StochasticVolume(2, direct=LATENT)
    embedded = direct(lambda x: x, decode, u)
    torch.testing.assert_close(embedded.log_volume.detach(), log_volume(decode, u).detach())
    assert embedded.solution is None
    fewer = u[:, : LATENT - 1]  # the same strategy, on another flow that needs no iterations
    embedded = strategy(lambda x: x, lambda u: decode(nn.functional.pad(u, (0, 1))), fewer)
    assert embedded.solution is None


class Stretched(nn.Module):
    """A linear decoder whose singular values are exp of its parameters."""

    def __init__(self, condition, latents, data):
        super().__init__()
        generator = torch.Generator().manual_seed(0)
        axes, turn = (torch.randn(n, latents, generator=generator) for n in (data, latents))
        self.axes, self.turn = torch.linalg.qr(axes).Q, torch.linalg.qr(turn).Q
        self.logs = nn.Parameter(torch.linspace(0, -math.log(condition), latents))

    def forward(self, u):
        return (u @ self.turn * self.logs.exp()) @ self.axes.T


@pytest.mark.parametrize("direct", [512, 0], ids=["direct", "iterative"])
@pytest.mark.parametrize("condition", [10.0, 1e3, 1e4])
def test_narrow_directions_have_their_gradient_in_single_precision(condition, direct, monkeypatch):
    """The derivative of Σ log s in each log s is 1; √d e_i as probes leave no variance."""
    decode = Stretched(condition, 128, 256)
    basis = 128**0.5 * torch.eye(128)[:, None]
    monkeypatch.setattr(
        stochastic, "probes_like", lambda u, count: basis[:count].expand(-1, len(u), -1)
    )
    strategy = StochasticVolume(128, direct=direct)
    embedded = strategy(lambda x: x, decode, torch.ones(2, 128))
    (found,) = torch.autograd.grad(embedded.log_volume.mean(), decode.logs)
    torch.testing.assert_close(found, torch.ones(128), rtol=0, atol=0.03)
    if not direct:
        solved = (embedded.solution.residuals <= 1e-3).all()
        assert solved == (condition < 100)  # what is not solved is not used


def test_probes_have_length_root_d_and_unit_covariance():
    torch.manual_seed(0)
    v = probes_like(torch.zeros(2000, 5, dtype=torch.float64), 10)
    assert v.shape == (10, 2000, 5)
    torch.testing.assert_close(v.square().sum(2), torch.full((10, 2000), 5.0).double())
    covariance = torch.einsum("kbi,kbj->ij", v, v) / 20000
    assert (covariance - torch.eye(5)).abs().max() < 0.03


def test_a_draw_of_zero_still_has_a_direction(monkeypatch):
    monkeypatch.setattr(torch, "randn", lambda *shape, **options: torch.zeros(*shape, **options))
    for d in (1, 4):
        probes = probes_like(torch.ones(3, d), 2)
        torch.testing.assert_close(probes, torch.ones(2, 3, d))
