"""The radial layer at the origin, in its tails, and in many dimensions."""

import pytest
import torch

from lightning_flows.core.errors import ConfigError
from lightning_flows.transforms import Radial
from proofs.common import make, near

DTYPES = ((torch.float32, 1e-5), (torch.float64, 1e-11))


def bent(d, dtype, **options):
    return make(lambda: Radial(d, **options), dtype)


@pytest.mark.parametrize(("dtype", "tolerance"), DTYPES)
@pytest.mark.parametrize("d", [1, 2, 5])
def test_it_is_smooth_at_the_origin(dtype, tolerance, d):
    layer = bent(d, dtype)
    x = torch.zeros(1, d, dtype=dtype, requires_grad=True)
    z, contribution = layer.encode(x)
    assert not z.any()
    (gradient,) = torch.autograd.grad(contribution.sum(), x)
    assert not gradient.any()
    jacobian = torch.autograd.functional.jacobian(lambda v: layer.encode(v)[0][0], x)[:, 0]
    slope = jacobian[0, 0]
    near(jacobian, slope * torch.eye(d, dtype=dtype), tolerance)
    near(contribution, d * slope.log()[None], tolerance)
    again, same = layer.decode(torch.zeros_like(x))
    assert not again.any()
    near(same, contribution, tolerance)
    # what comes next is of second order
    direction = torch.nn.functional.normalize(torch.ones(1, d, dtype=dtype))
    for step in (1e-15, 1e-8, 1e-4):
        moved, value = layer.encode(step * direction)
        near(moved / step, slope * direction, max(tolerance, step))
        near(value, contribution, max(tolerance, step))


def test_single_precision_is_as_good_at_any_distance():
    single = bent(3, torch.float32)
    double = bent(3, torch.float64)
    double.load_state_dict(single.state_dict())
    directions = torch.nn.functional.normalize(torch.randn(9, 3), dim=1)
    x = directions * torch.logspace(-6, 2, 9)[:, None]
    for name in ("encode", "decode"):
        z, contribution = getattr(single, name)(x)
        exact, expected = getattr(double, name)(x.double())
        assert ((z - exact).norm(dim=1) <= 1e-5 * exact.norm(dim=1)).all()
        near(contribution.double(), expected, 1e-5)


@pytest.mark.parametrize("d", [1, 2, 7])
def test_it_maps_distances_alone_and_is_linear_far_out(d):
    layer = bent(d, torch.float64, bound=3.0)
    x = torch.nn.functional.normalize(torch.randn(1, d, dtype=torch.float64), dim=1)
    radii = torch.linspace(0.01, 40, 500, dtype=torch.float64)[:, None]
    z, contribution = layer.encode(radii * x)
    distance = z.norm(dim=1)
    assert (distance.diff() > 0).all()
    near(z / distance[:, None], x.expand(500, d))
    beyond = distance > 3
    slope = distance[-1] / radii[-1]
    near(distance[beyond], (slope * radii[:, 0])[beyond])
    near(contribution[beyond], d * slope.log().expand(int(beyond.sum())))


def test_many_dimensions_start_as_the_identity():
    layer = Radial((3, 16, 16))
    x = torch.randn(4, 3, 16, 16)
    z, contribution = layer.encode(x)
    near(z, x, 1e-6)
    near(contribution, torch.zeros(4), 1e-3)
    assert x.flatten(1).norm(dim=1).max() ** 2 < layer.spline.high


def test_refuses_senseless_options():
    with pytest.raises(ConfigError, match="bins is 1; accepted are 2 to 500"):
        Radial(2, bins=1)
    with pytest.raises(ConfigError, match="bound is 0; accepted are positive numbers"):
        Radial(2, bound=0)
