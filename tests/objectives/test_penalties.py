"""Every penalty against every proof; a new one is a line in `penalty_cases.py`."""

import math

import pytest
import torch
from penalty_cases import CASES

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
)
from proofs.common import pairs
from proofs.embedding import BATCH, LATENT, Apart, brute, check_average, gradient, points
from proofs.penalty import PROOFS


@pytest.mark.parametrize(("prove", "case"), pairs(CASES, PROOFS))
def test_penalty(prove, case):
    prove(case)


@pytest.fixture
def pair():
    return Apart()


@pytest.fixture
def x():
    return points()


def test_a_jacobian_that_was_built_is_used(pair, x):
    def never(u):
        raise AssertionError("the decoder is run again")

    way = ExactVolume()(pair.encode, pair.decode, x)
    for penalty in (OffDiagonal(1.0), ContourInformation(1.0)):
        penalty(pair.encode, never, x, way)


def test_penalties_that_vanish():
    torch.manual_seed(5)
    q = torch.linalg.qr(torch.randn(6, LATENT, dtype=torch.float64)).Q
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


def test_the_principal_volume_bounds_the_volume(pair, x):
    way = PrincipalVolume()(pair.encode, pair.decode, x)
    torch.testing.assert_close(way.jacobian, brute(pair.decode, pair.encode(x)))
    exact = ExactVolume()(pair.encode, pair.decode, x).log_volume
    gap = ContourInformation(1.0)(pair.encode, pair.decode, x, way)
    assert (way.log_volume > exact).all()
    torch.testing.assert_close(way.log_volume - exact, gap)


@pytest.mark.parametrize("columns", [1, 2])
def test_some_columns_estimate_the_principal_volume(columns, pair, x):
    whole = PrincipalVolume()(pair.encode, pair.decode, x).log_volume.sum()
    direction = gradient(whole, pair)
    draws = []
    for _ in range(100):
        way = PrincipalVolume(columns)(pair.encode, pair.decode, x)
        assert way.jacobian is None
        draws.append(gradient(way.log_volume.sum(), pair))
    check_average(torch.stack(draws), direction, precise=0.1)
    everything = PrincipalVolume(LATENT + 1)(pair.encode, pair.decode, x)
    torch.testing.assert_close(everything.log_volume.sum(), whole)


def test_no_volume_leaves_it_out(pair, x):
    way = NoVolume()(pair.encode, pair.decode, x)
    assert not way.log_volume.any()
    assert not way.log_volume.requires_grad
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
