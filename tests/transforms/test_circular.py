"""Angles: nothing happens where -π and π meet, and columns keep their sets."""

import math

import pytest
import torch

from lightning_flows.core.angles import wrapped
from lightning_flows.core.errors import ConfigError, ShapeError
from lightning_flows.core.support import POSITIVE, REAL, Columns, Interval, Torus
from lightning_flows.transforms import (
    PeriodicShift,
    Permutation,
    SplineAutoregressive,
    SplineCoupling,
)
from proofs.common import draw, make, near

SCALES = (1.0, 5.0, 30.0)
LAYERS = [
    pytest.param(lambda: SplineCoupling(3, support=Torus(3)), id="coupling"),
    pytest.param(lambda: SplineAutoregressive(3, support=Torus(3)), id="autoregressive"),
]


@pytest.mark.parametrize("build", LAYERS)
@pytest.mark.parametrize("scale", SCALES)
def test_the_map_and_its_slope_are_continuous_where_the_ends_meet(build, scale):
    layer = make(build, torch.float32, strength=scale)
    x = draw(Torus(3), (64, 3), torch.float32)
    for column in range(3):
        left, right = x.clone(), x.clone()
        left[:, column], right[:, column] = -math.pi, math.pi
        (z, low), (other, high) = layer.encode(left), layer.encode(right)
        slope = 1 + torch.maximum(low, high).exp()
        assert (wrapped(z - other).abs().amax(1) <= 1e-5 * slope * scale**2).all()
        assert ((low - high).abs() <= 2e-3 * scale).all()


@pytest.mark.parametrize("build", LAYERS)
@pytest.mark.parametrize("scale", SCALES)
def test_angles_come_back(build, scale):
    """Where no slope is below 1e-4: large weights make flat places, which numbers cannot invert."""
    layer = make(build, torch.float64, strength=scale)
    x = draw(Torus(3), (2000, 3))
    kept = layer.encode_each(x)[1].amin(1) > -9
    assert kept.sum() > 10
    error = wrapped(layer.decode(layer.encode(x)[0])[0] - x).abs()
    assert error[kept].max() < 1e-5


@pytest.mark.parametrize("build", LAYERS)
def test_angles_come_back_in_single_precision(build):
    layer = make(build, torch.float32, strength=1.0)
    x = draw(Torus(3), (256, 3), torch.float32)
    assert wrapped(layer.decode(layer.encode(x)[0])[0] - x).abs().max() < 2e-5


def test_a_rotation_goes_round_with_the_angle_that_it_depends_on():
    """z₂ = x₂ - x₁: a rotation of winding number -1, which no network that gives one number has."""

    def follows(in_features: int, out_features: int) -> torch.nn.Module:
        net = torch.nn.Linear(in_features, out_features)
        torch.nn.init.zeros_(net.weight)
        torch.nn.init.zeros_(net.bias)
        with torch.no_grad():
            net.weight[-2, 0], net.weight[-1, 1], net.bias[-2] = 1, -1, -1
        return net

    layer = SplineCoupling(2, support=Torus(2), net=follows).double()
    x = draw(Torus(2), (64, 2))
    z, contribution = layer.encode(x)
    near(torch.cos(z[:, 1] - x[:, 1] + x[:, 0]), torch.ones(64).double(), 1e-10)
    near(contribution, torch.zeros(64).double(), 1e-10)


def test_columns_stay_in_their_sets_wherever_they_stand():
    support = Columns([Torus(1), Interval(), Interval(-1.0, 2.0)])
    chain = Permutation(3, [2, 0, 1], support=support)
    assert chain.codomain == Columns([Interval(-1.0, 2.0), Torus(1), Interval()])
    layer = make(lambda: SplineAutoregressive(3, support=support, reverse=True), strength=30.0)
    x = draw(support, (256, 3), scale=5.0)
    z = layer.encode(x)[0]
    assert support.contains(z).all()
    assert support.contains(layer.decode(x)[0]).all()


def test_without_angles_a_network_sees_what_it_saw():
    plain, same = (
        make(lambda s=s: SplineCoupling(4, support=s)) for s in (REAL, Columns([REAL] * 4))
    )
    same.load_state_dict(plain.state_dict())
    x = draw(REAL, (9, 4))
    near(same.encode(x), plain.encode(x), 1e-12)


@pytest.mark.parametrize(
    ("build", "error", "sentence"),
    [
        (
            lambda: SplineCoupling(3, support=Torus(2)),
            ShapeError,
            r"event_shape is \(3,\); events in the torus of dimension 2 have shape \(2,\)",
        ),
        (
            lambda: SplineAutoregressive(2, support=POSITIVE),
            ShapeError,
            r"No spline maps \[0, inf\) onto itself; accepted are angles",
        ),
        (
            lambda: SplineCoupling((2, 2, 2), support=Columns([Torus(1)] * 2)),
            ShapeError,
            "splines on columns in .* take vectors",
        ),
        (lambda: PeriodicShift(2, shift=[1.0]), ConfigError, "accepted are one number, or 2"),
        (lambda: PeriodicShift((2, 2)), ShapeError, "PeriodicShift takes vectors"),
        (
            lambda: Permutation((2, 2), dim=1, support=Columns([Torus(1)] * 2)),
            ConfigError,
            "columns change places along dimension 0",
        ),
    ],
)
def test_says_what_it_takes(build, error, sentence):
    with pytest.raises(error, match=sentence):
        build()
