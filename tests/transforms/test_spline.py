"""Rational-quadratic splines: monotone, onto, smooth, and the same as elsewhere."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from nflows.transforms.splines.rational_quadratic import unconstrained_rational_quadratic_spline

from lightning_flows.core.errors import ConfigError
from lightning_flows.transforms.bijections.spline import DAMPING, MIN_BIN, RationalQuadratic

many = settings(max_examples=60, deadline=None, derandomize=True)
seeds = st.integers(0, 10_000)
scales = st.sampled_from([0.0, 0.1, 1.0, 3.0, 30.0])


def parameters(spline, seed, scale, points=1):
    """The same random parameters for every point: (points, size, 1)."""
    generator = torch.Generator().manual_seed(seed)
    h = scale * torch.randn(1, spline.size, 1, generator=generator, dtype=torch.float64)
    return h.expand(points, -1, -1)


def knots(spline, h):
    """Where bins meet in x: (bins + 1,)."""
    shares = torch.softmax(h[0, : spline.bins, 0] / DAMPING, 0)
    ends = (MIN_BIN + (1 - MIN_BIN * spline.bins) * shares).cumsum(0)
    return spline.high * (2 * torch.cat([ends.new_zeros(1), ends]) - 1)


@many
@given(seeds, scales, st.integers(2, 20), st.sampled_from([0.5, 3.0, 20.0]))
def test_monotone_onto_and_invertible(seed, scale, bins, bound):
    spline = RationalQuadratic(bins, bound)
    h = parameters(spline, seed, scale)
    grid = torch.linspace(-1.5 * bound, 1.5 * bound, 300, dtype=torch.float64)
    x = torch.cat([grid, knots(spline, h)]).sort().values.unique()[:, None]
    h = h.expand(len(x), -1, -1)
    z, log_slope = spline.encode(x, h)
    assert (z.diff(dim=0) > 0).all()
    assert log_slope.isfinite().all()
    outside = x.abs() >= bound
    assert torch.equal(z[outside], x[outside])
    assert not log_slope[outside].any()
    assert (z[~outside].abs() <= bound * (1 + 1e-12)).all()
    back, decoded = spline.decode(z, h)
    # where the slope is 1e-3 of its neighbor's, an error of z grows accordingly
    torch.testing.assert_close(back, x, rtol=0, atol=1e-7 * bound)
    torch.testing.assert_close(decoded, log_slope, rtol=0, atol=1e-3)


@many
@given(seeds, st.sampled_from([0.1, 1.0]))
def test_the_slope_is_continuous_across_bins(seed, scale):
    spline = RationalQuadratic(6, 3.0)
    h = parameters(spline, seed, scale)
    at = knots(spline, h)[:, None]
    step = 1e-9
    below, above = (spline.encode(at + side * step, h.expand(len(at), -1, -1)) for side in (-1, 1))
    torch.testing.assert_close(below[0], above[0], rtol=0, atol=1e-5)
    torch.testing.assert_close(below[1], above[1], rtol=0, atol=2e-3)


@many
@given(seeds, st.sampled_from([0.1, 1.0, 3.0]))
def test_same_as_nflows(seed, scale):
    bins, bound = 7, 4.0
    spline = RationalQuadratic(bins, bound)
    x = torch.linspace(-1.3 * bound, 1.3 * bound, 101, dtype=torch.float64)
    h = parameters(spline, seed, scale, len(x))
    rows = h[:, :, 0]
    widths, heights = (rows[:, : 2 * bins] / DAMPING).split(bins, 1)
    theirs = widths, heights, rows[:, 2 * bins :] + spline.unit_slope
    for method, inverse, sign in ((spline.encode, False, 1), (spline.decode, True, -1)):
        expected, expected_slope = unconstrained_rational_quadratic_spline(
            x, *theirs, inverse=inverse, tail_bound=bound, min_bin_width=1e-3, min_bin_height=1e-3
        )
        z, log_slope = method(x[:, None], h)
        torch.testing.assert_close(z[:, 0], expected, rtol=1e-7, atol=1e-7)
        torch.testing.assert_close(log_slope[:, 0], sign * expected_slope, rtol=1e-6, atol=1e-6)


def test_zeros_are_the_identity():
    spline = RationalQuadratic(8, 5.0)
    x = torch.linspace(-6, 6, 97, dtype=torch.float64)[:, None]
    h = torch.zeros(len(x), spline.size, 1, dtype=torch.float64)
    for method in (spline.encode, spline.decode):
        z, log_slope = method(x, h)
        torch.testing.assert_close(z, x, rtol=0, atol=1e-12)
        torch.testing.assert_close(log_slope, torch.zeros_like(x), rtol=0, atol=1e-12)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_gradients_are_finite_at_knots_and_far_outside(dtype):
    spline = RationalQuadratic(5, 3.0)
    for scale in (0.0, 1.0, 30.0):
        h = parameters(spline, 1, scale)
        x = torch.cat([knots(spline, h), torch.tensor([-1e20, -3.0, 0.0, 3.0, 1e20])])[:, None]
        x, h = x.to(dtype), h.expand(len(x), -1, -1).to(dtype)
        for method in (spline.encode, spline.decode):
            inputs = x.clone().requires_grad_(), h.clone().requires_grad_()
            z, log_slope = method(*inputs)
            for gradient in torch.autograd.grad(z.sum() + log_slope.sum(), inputs):
                assert gradient.isfinite().all()


@pytest.mark.parametrize(("bins", "bound"), [(1, 5.0), (501, 5.0), (8, 0.0), (8, -1.0)])
def test_refuses_senseless_options(bins, bound):
    with pytest.raises(ConfigError, match=f"is {bins}; acc|is {bound}; acc"):
        RationalQuadratic(bins, bound)
