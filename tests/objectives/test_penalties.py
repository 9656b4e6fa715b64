"""Penalties against Jacobians that autograd computes row by row, and principal volumes."""

import math

import pytest
import torch
from torch import nn
from torch.func import jacrev, vmap

from lightning_flows.core.errors import ConfigError
from lightning_flows.objectives import (
    ContourInformation,
    Embedded,
    ExactVolume,
    Isometry,
    NoVolume,
    OffDiagonal,
    PrincipalVolume,
    Tikhonov,
    squared_norm,
)

D, LATENT, BATCH = 6, 3, 5


class Pair(nn.Module):
    """A smooth encoder and decoder between 2 x 3 data and three latents."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(1)
        self.encode = nn.Sequential(
            nn.Flatten(), nn.Linear(D, 7), nn.Tanh(), nn.Linear(7, LATENT)
        ).double()
        self.decode = nn.Sequential(
            nn.Linear(LATENT, 7), nn.Tanh(), nn.Linear(7, D), nn.Unflatten(1, (2, 3))
        ).double()


@pytest.fixture
def pair():
    return Pair()


@pytest.fixture
def x():
    return torch.randn(BATCH, 2, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(2))


def brute(fn, points):
    j = vmap(jacrev(lambda point: fn(point[None])[0]))(points)
    return j.flatten(1, fn(points[:1]).ndim - 1).flatten(2)


def gradient(value, pair):
    found = torch.autograd.grad(value.sum(), list(pair.parameters()), materialize_grads=True)
    return torch.cat([part.flatten() for part in found])


def off_diagonal(j):
    gram = j.mT @ j
    return (gram * (1 - torch.eye(LATENT))).abs().sum((1, 2))


def principal(j):
    return j.norm(dim=1).log().sum(1) - 0.5 * torch.logdet(j.mT @ j)


def embedded(pair, x):
    return NoVolume()(pair.encode, pair.decode, x)


@pytest.mark.parametrize("built", [False, True])
@pytest.mark.parametrize(
    ("penalty", "expected"),
    [(OffDiagonal(2.0), off_diagonal), (ContourInformation(2.0), principal)],
)
def test_exact_penalties_on_the_decoder(penalty, expected, built, pair, x):
    way = ExactVolume()(pair.encode, pair.decode, x) if built else embedded(pair, x)
    assert (way.jacobian is not None) == built
    value = penalty(pair.encode, pair.decode, x, way)
    reference = expected(brute(pair.decode, pair.encode(x)))
    torch.testing.assert_close(value, reference)
    torch.testing.assert_close(gradient(value, pair), gradient(reference, pair))
    assert (value >= 0).all()


def test_a_jacobian_that_was_built_is_used(pair, x):
    def never(u):
        raise AssertionError("the decoder is run again")

    way = ExactVolume()(pair.encode, pair.decode, x)
    for penalty in (OffDiagonal(1.0), ContourInformation(1.0)):
        penalty(pair.encode, never, x, way)


def test_all_directions_give_tikhonov_exactly(pair, x):
    value = Tikhonov(1.0, probes=None)(pair.encode, pair.decode, x, embedded(pair, x))
    reference = brute(pair.encode, x).square().sum((1, 2))
    torch.testing.assert_close(value, reference)
    torch.testing.assert_close(gradient(value, pair), gradient(reference, pair))


@pytest.mark.parametrize("probes", [1, 4])
def test_random_directions_give_tikhonov_on_average(probes, pair, x):
    torch.manual_seed(3)
    exact = gradient(squared_norm(pair.encode, x), pair)
    value = squared_norm(pair.encode, x).sum()
    penalty = Tikhonov(1.0, probes)
    draws, gradients = [], []
    for _ in range(300):
        drawn = penalty(pair.encode, pair.decode, x, embedded(pair, x))
        draws.append(drawn.sum().detach())
        gradients.append(gradient(drawn, pair) @ exact / exact.square().sum())
    for found, expected in ((torch.stack(draws), value), (torch.stack(gradients), 1.0)):
        error = found.std() / len(found) ** 0.5
        assert error < 0.05 * expected
        assert abs(found.mean() - expected) < 3 * error


@pytest.mark.parametrize("probes", [1, 8])
def test_isometry_is_an_average_over_unit_vectors(probes, pair):
    torch.manual_seed(4)
    u = torch.randn(1, LATENT, dtype=torch.float64).expand(3000, -1)
    j = brute(pair.decode, u[:1])[0]
    v = nn.functional.normalize(torch.randn(400_000, LATENT, dtype=torch.float64), dim=1)
    expected = ((v @ j.T).norm(dim=1) - 1).square()
    way = Embedded(u, u, u[:, 0])
    found = Isometry(1.0, probes)(pair.encode, pair.decode, u, way)
    error = found.std() / len(found) ** 0.5
    assert error < 0.05 * expected.mean()
    assert abs(found.mean() - expected.mean()) < 3 * error + 3 * expected.std() / len(v) ** 0.5


def test_penalties_that_vanish():
    torch.manual_seed(5)
    q = torch.linalg.qr(torch.randn(D, LATENT, dtype=torch.float64)).Q
    scales = torch.tensor([0.2, 1.0, 5.0], dtype=torch.float64)
    u = torch.randn(BATCH, LATENT, dtype=torch.float64)
    way = Embedded(u, u @ q.T, u[:, 0])

    def value(penalty, matrix):
        return penalty(lambda x: x @ matrix, lambda u: u @ matrix.T, way.x_hat, way)

    zero = torch.zeros(BATCH).double()
    for penalty in (OffDiagonal(1.0), ContourInformation(1.0)):
        torch.testing.assert_close(value(penalty, q * scales), zero)  # orthogonal columns
        assert (value(penalty, q * scales + 0.1) > 1e-3).all()
    torch.testing.assert_close(value(Isometry(1.0, 4), q), zero)
    assert (value(Isometry(1.0, 4), q * scales) > 1e-3).all()
    torch.testing.assert_close(value(Tikhonov(1.0, None), q), zero + LATENT)


def test_penalties_are_one_number_for_each_sample(pair, x):
    for penalty in (Tikhonov(1.0), OffDiagonal(1.0), ContourInformation(1.0), Isometry(1.0)):
        assert penalty(pair.encode, pair.decode, x, embedded(pair, x)).shape == (BATCH,)


def test_the_principal_volume_bounds_the_volume_and_is_its_columns(pair, x):
    way = PrincipalVolume()(pair.encode, pair.decode, x)
    j = brute(pair.decode, pair.encode(x))
    reference = j.norm(dim=1).log().sum(1)
    torch.testing.assert_close(way.log_volume, reference)
    torch.testing.assert_close(gradient(way.log_volume, pair), gradient(reference, pair))
    torch.testing.assert_close(way.jacobian, j)
    exact = ExactVolume()(pair.encode, pair.decode, x).log_volume
    gap = ContourInformation(1.0)(pair.encode, pair.decode, x, way)
    assert (way.log_volume > exact).all()
    torch.testing.assert_close(way.log_volume - exact, gap)


@pytest.mark.parametrize("columns", [1, 2])
def test_some_columns_estimate_the_principal_volume(columns, pair, x):
    torch.manual_seed(6)
    whole = PrincipalVolume()(pair.encode, pair.decode, x).log_volume.sum()
    direction = gradient(whole, pair)
    draws = []
    for _ in range(100):
        way = PrincipalVolume(columns)(pair.encode, pair.decode, x)
        assert way.jacobian is None
        draws.append(gradient(way.log_volume, pair) @ direction / direction.square().sum())
    error = torch.stack(draws).std() / len(draws) ** 0.5
    assert 0 < error < 0.1
    assert abs(torch.stack(draws).mean() - 1) < 3 * error
    everything = PrincipalVolume(LATENT + 1)(pair.encode, pair.decode, x)
    torch.testing.assert_close(everything.log_volume.sum(), whole)


def test_no_volume_leaves_it_out(pair, x):
    way = NoVolume()(pair.encode, pair.decode, x)
    assert not way.log_volume.any()
    assert not way.log_volume.requires_grad
    torch.testing.assert_close(way.x_hat, pair.decode(pair.encode(x)))
    assert not NoVolume.measures


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Tikhonov(-1.0), "weight is -1.0"),
        (lambda: OffDiagonal(math.nan), "weight is nan"),
        (lambda: Tikhonov(1.0, 0), "probes is 0"),
        (lambda: Isometry(1.0, 0), "probes is 0"),
        (lambda: PrincipalVolume(0), "columns is 0"),
    ],
)
def test_options_out_of_range_are_refused(make, message):
    with pytest.raises(ConfigError, match=message):
        make()
