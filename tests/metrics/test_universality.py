"""Δ_affine beside closed forms, quadrature, and latents that are normal already."""

import math

import pytest
import torch
from torch import Tensor

from lightning_flows.core.errors import ConfigError, DataError, ShapeError
from lightning_flows.metrics import affine_gain, gaussian_affine_gain


def turn(angle: float) -> Tensor:
    c, s = math.cos(angle), math.sin(angle)
    return torch.tensor([[c, -s], [s, c]], dtype=torch.float64)


def normals(n: int, d: int, seed: int) -> Tensor:
    return torch.randn(n, d, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


@pytest.mark.parametrize(("first", "second"), [(4.0, 0.25), (0.5, 3.0), (1.0, 1.0), (2.0, 2.0)])
def test_gaussians_in_the_plane_have_closed_forms(first, second):
    """In the eigenbasis, and at 45 degrees, whatever the signs of the rotated axes are."""
    covariance = torch.diag(torch.tensor([first, second]))
    active = gaussian_affine_gain(covariance)
    assert active.item() == pytest.approx(0.5 * (second - 1 - math.log(second)), abs=1e-12)
    v = (first + second) / 2
    expected = 0.5 * (v - 1 - math.log(first * second / v))
    for quarter in (1, 3, 5):
        found = gaussian_affine_gain(covariance, turn(quarter * math.pi / 4))
        assert found.item() == pytest.approx(expected, abs=1e-12)


def test_gaussians_in_more_dimensions_are_the_difference_of_two_divergences():
    """KL(p‖N) before the best block, minus that after it: corrections of the covariance by hand."""
    root = normals(5, 5, seed=0)
    sigma = root @ root.mT + 0.1 * torch.eye(5)
    q = torch.linalg.qr(normals(5, 5, seed=1)).Q
    s = q @ sigma @ q.mT
    weights = s[2:, :2] @ s[:2, :2].inverse()
    block = torch.eye(5, dtype=torch.float64)
    scale = (s[2:, 2:] - weights @ s[:2, 2:]).diagonal().rsqrt()
    block[2:, :2], block[2:, 2:] = -scale[:, None] * weights, torch.diag(scale)
    after = block @ s @ block.mT

    def divergence(c: Tensor) -> Tensor:
        return 0.5 * (c.trace() - 5 - c.logdet())

    expected = divergence(sigma) - divergence(after)
    assert gaussian_affine_gain(sigma, q).item() == pytest.approx(expected.item(), abs=1e-10)


def test_the_estimate_meets_the_closed_form():
    covariance = torch.diag(torch.tensor([4.0, 0.25], dtype=torch.float64))
    z = normals(4000, 2, seed=0) @ covariance.sqrt()
    for rotation in (turn(0.0), turn(math.pi / 4)):
        found = affine_gain(z, rotation=rotation)
        exact = gaussian_affine_gain(covariance, rotation)
        assert (found.gain - exact).abs() < 3 * found.standard_error
    chosen = affine_gain(z)
    assert chosen.gain > 0.95  # 45 degrees have 0.94, and those of the eigenbasis 0.81 and 0.32
    exact = gaussian_affine_gain(covariance, chosen.rotation)
    assert (chosen.gain - exact).abs() < 3 * chosen.standard_error
    torch.testing.assert_close(chosen.rotation @ chosen.rotation.mT, torch.eye(2).double())


def curved(n: int, seed: int, factor: Tensor | float = 1.0) -> Tensor:
    """Entries b and a = sin(2b) + s(b) ε with s = 0.3 + 0.2|b|, which no linear map undoes."""
    b, noise = normals(n, 2, seed).unbind(1)
    return torch.stack([b, factor * ((2 * b).sin() + (0.3 + 0.2 * b.abs()) * noise)], 1)


def curved_gain() -> float:
    """By quadrature over b."""
    b = torch.linspace(-9, 9, 100_001, dtype=torch.float64)
    weight = torch.exp(-b.square() / 2) / math.sqrt(2 * math.pi)
    m, s = (2 * b).sin(), 0.3 + 0.2 * b.abs()
    each = 0.5 * (m.square() + s.square() - 1 - 2 * s.log())
    return torch.trapezoid(weight * each, b).item()


def test_the_estimate_finds_what_is_curved():
    found = affine_gain(curved(8000, seed=0), rotation=torch.eye(2))
    assert found.gain.item() == pytest.approx(curved_gain(), abs=3 * found.standard_error.item())
    assert found.standard_error < 0.02


def test_context_counts():
    """A sign that context knows: without it the mean is 0 and the variance that of a mixture."""
    sign = normals(4000, 1, seed=1).sign()
    z = curved(4000, 0, sign[:, 0])
    alone = affine_gain(z, rotation=torch.eye(2))
    given = affine_gain(z, sign, rotation=torch.eye(2))
    assert given.gain.item() == pytest.approx(curved_gain(), abs=3 * given.standard_error.item())
    assert given.gain > alone.gain + 0.1


@pytest.mark.parametrize("n", [60, 600, 3000])
def test_normal_latents_gain_nothing(n):
    for seed in range(3):
        found = affine_gain(normals(n, 3, seed), rotations=2)
        assert found.gain.abs() <= 2 * found.standard_error


def test_it_is_never_nan():
    holes = normals(40, 2, 0)
    holes[3, 1], holes[5, 0] = torch.nan, torch.inf
    for z in (torch.zeros(8, 3), normals(8, 1, 0), holes):
        found = affine_gain(z, rotations=0)
        assert found.gain.isfinite()
        assert found.standard_error.isfinite()
    assert affine_gain(torch.ones(20, 3), rotations=0).gain > 1
    assert affine_gain(1e20 * normals(200, 2, 0), rotations=0).gain > 1e30


def test_images_and_half_precision_and_the_random_state():
    z = normals(100, 8, 0).add(0.5).reshape(100, 2, 2, 2)
    torch.manual_seed(3)
    state = torch.get_rng_state()
    found = affine_gain(z, rotations=0)
    assert torch.equal(torch.get_rng_state(), state)
    with torch.inference_mode():
        assert affine_gain(z.flatten(1), rotations=0).gain == found.gain
    half = affine_gain(z.half(), rotations=0)
    assert half.gain.item() == pytest.approx(found.gain.item(), abs=0.05)
    assert affine_gain(z, rotations=0, seed=1).gain != found.gain


def test_refuses_what_it_cannot_use():
    z = normals(7, 2, 0)
    with pytest.raises(DataError, match="z has 7 finite rows; an affine gain takes at least 8"):
        affine_gain(z)
    z = normals(20, 2, 0)
    with pytest.raises(ShapeError, match=r"rotation has shape \(3, 3\); expected is \(2, 2\)"):
        affine_gain(z, rotation=torch.eye(3))
    with pytest.raises(ShapeError, match="context has 3 rows for 20 latents"):
        affine_gain(z, z[:3])
    with pytest.raises(ConfigError, match="rotations is -1; accepted are integers from 0 up"):
        affine_gain(z, rotations=-1)
