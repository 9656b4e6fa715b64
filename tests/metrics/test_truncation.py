"""The order of latents and the truncation curve, against principal component analysis."""

import math

import pytest
import torch
from torch import Tensor

from lightning_flows.core.errors import DataError, ShapeError
from lightning_flows.metrics import (
    TruncationCurve,
    latent_order,
    manifold_entropy,
    truncation_curve,
)

GENERATOR = torch.Generator().manual_seed(0)
AXES = torch.linalg.qr(torch.randn(6, 3, generator=GENERATOR, dtype=torch.float64)).Q
TURN = torch.linalg.qr(torch.randn(3, 3, generator=GENERATOR, dtype=torch.float64)).Q
SCALES = torch.tensor([0.3, 2.0, 1.0], dtype=torch.float64)


def linear(size: float = 1.0, dtype: torch.dtype = torch.float64):  # type: ignore[no-untyped-def]
    """Data of standard deviations size · (2, 1, 0.3), whose latents are rotated."""
    matrix = size * AXES * SCALES @ TURN.T
    inverse = torch.linalg.pinv(matrix)
    z = torch.randn(400, 3, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    noise = torch.randn(400, 6, generator=torch.Generator().manual_seed(2), dtype=torch.float64)
    x = z @ matrix.T + 0.1 * size * noise
    matrix, inverse = matrix.to(dtype), inverse.to(dtype)
    return (lambda x: x @ inverse.T), (lambda z: z @ matrix.T), x.to(dtype)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
@pytest.mark.parametrize("size", [1.0, 5.0, 30.0])
def test_rotated_latents_of_a_linear_flow_are_its_principal_components(
    size: float, dtype: torch.dtype
) -> None:
    encode, decode, x = linear(size, dtype)
    order = latent_order(decode, encode(x))
    found = (order.directions.T @ TURN[:, [1, 2, 0]]).abs()
    torch.testing.assert_close(found, torch.eye(3).double(), rtol=0, atol=1e-5)
    for k in range(3):
        alone = manifold_entropy(
            lambda u, k=k: u @ (decode(order.directions[:, k : k + 1].T.to(x))),  # type: ignore[misc]
            encode(x) @ order.directions[:, k : k + 1].to(x),
        )
        assert float(order.entropies[k]) == pytest.approx(alone.mean().item(), abs=1e-4)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
@pytest.mark.parametrize("size", [1.0, 5.0, 30.0])
def test_the_curve_is_that_of_principal_components(size: float, dtype: torch.dtype) -> None:
    """Squared distance from the span of the first k axes, and a normal density there."""
    encode, decode, x = linear(size, dtype)
    order = latent_order(decode, encode(x))
    curve = truncation_curve(encode, decode, x, order.directions)
    x, axes = x.double(), AXES[:, [1, 2, 0]]
    for k in range(4):
        inside = x @ axes[:, :k]
        error = (x - inside @ axes[:, :k].T).square().sum(1).mean()
        normal = torch.distributions.Normal(0.0, size * SCALES[[1, 2, 0]][:k])
        residual = torch.distributions.Normal(0.0, (error / (6 - k)).sqrt())
        off = x @ torch.linalg.qr(torch.cat([axes[:, :k], torch.eye(6).double()], 1)).Q[:, k:6]
        nll = -(normal.log_prob(inside).sum(1) + residual.log_prob(off).sum(1)).mean()
        assert float(curve.error[k]) == pytest.approx(float(error), rel=1e-4)
        assert float(curve.nll[k]) == pytest.approx(float(nll), abs=1e-3)
    assert curve.dimension(noise=0.1 * size) == 3
    assert curve.dimension(noise=0.3 * size) == 2
    assert curve.dimension() == 3


def test_latents_keep_their_own_axes_where_columns_are_orthogonal() -> None:
    """Polar coordinates: the lengths of columns change from point to point, their angles do not."""

    def polar(z: Tensor) -> Tensor:
        angle, radius = z[:, :1], (0.2 * z[:, 1:]).exp()
        return torch.cat([radius * angle.cos(), radius * angle.sin()], 1)

    z = torch.randn(500, 2, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    rotated, own = latent_order(polar, z), latent_order(polar, z, rotate=False)
    torch.testing.assert_close(rotated.directions.abs(), torch.eye(2).double())
    torch.testing.assert_close(own.directions, torch.eye(2).double())
    torch.testing.assert_close(rotated.entropies, own.entropies)
    radius = 0.2 * z[:, 1]
    half = 0.5 * math.log(2 * math.pi)
    closed = half + torch.stack([z[:, 0].square() / 2 + radius, z[:, 1].square() / 2 + radius])
    closed[1] += math.log(0.2)
    torch.testing.assert_close(own.entropies, closed.mean(1))


def test_only_a_rotation_finds_a_plane_that_latents_share() -> None:
    z = torch.randn(300, 3, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    plane = TURN * torch.tensor([1.0, 1.0, 0.0]).double() @ TURN.T
    x = z @ plane
    for rotate, expected in ((True, True), (False, False)):
        order = latent_order(lambda z: z @ plane, z, rotate=rotate)
        error = truncation_curve(lambda x: x, lambda z: z @ plane, x, order.directions).error
        assert (error[2] < 1e-9) == expected
        assert error[3] < 1e-9


def test_a_latent_that_does_nothing_comes_last_and_does_not_count() -> None:
    def decode(z: Tensor) -> Tensor:
        return torch.cat([z[:, 1:3], z[:, 1:3].sin()], 1)

    def encode(x: Tensor) -> Tensor:
        return torch.cat([0 * x[:, :1] + x[:, 2:3], x[:, :2]], 1)

    z = torch.randn(50, 3, generator=torch.Generator().manual_seed(0))
    order = latent_order(decode, z, rotate=False)
    assert order.directions[:, 2].tolist() == [1, 0, 0]
    assert order.entropies[2] == -torch.inf
    curve = truncation_curve(encode, decode, decode(z), order.directions)
    assert curve.dimension() == 2
    assert curve.nll.shape == curve.error.shape == (4,)


def test_points_without_a_finite_jacobian_are_left_out_of_the_order() -> None:
    encode, decode, x = linear()
    z = encode(x)
    broken = torch.cat([z, torch.full((1, 3), torch.nan).double()])
    torch.testing.assert_close(
        latent_order(lambda z: decode(z) * z.sum(1, keepdim=True), broken).entropies,
        latent_order(lambda z: decode(z) * z.sum(1, keepdim=True), z).entropies,
    )
    for rows in (broken[-1:], z[:0]):
        with pytest.raises(DataError, match=r"finite at none of . latents"):
            latent_order(lambda z: decode(z) * z.sum(1, keepdim=True), rows)


def test_the_last_latent_that_counts_gives_the_dimension() -> None:
    def dimension(*error: float, **options: float) -> int:
        curve = torch.tensor(error, dtype=torch.float64)
        return TruncationCurve(curve, torch.zeros_like(curve)).dimension(**options)

    assert dimension(3.0, 1.0, 0.5, 0.49, 0.48, noise=0.1) == 2
    assert dimension(3.0, 1.0, 0.5, 0.49, 0.43, noise=0.1) == 4
    assert dimension(3.0, 1.0, 0.5, 0.49, 0.43, tikhonov=0.005) == 4
    assert dimension(3.0, 1.0, 0.5, 0.499, 0.4981, noise=0.0) == 2
    assert dimension(3.0, 1.0, 0.5, 0.497, noise=0.0) == 3
    assert dimension(3.0, 1.0, 0.5, 0.497, relative=0.1) == 2
    assert dimension(1.0, 0.99, 0.98, noise=1.0) == 0
    assert dimension(1.0, 1.0, 1.0) == 0
    with pytest.raises(DataError, match="not finite"):
        dimension(1.0, math.nan)


def test_says_what_it_takes() -> None:
    encode, decode, x = linear()
    with pytest.raises(ShapeError, match=r"directions have shape \(2, 2\); expected is \(3, up to"):
        truncation_curve(encode, decode, x, torch.eye(2))
    with pytest.raises(DataError, match="x has no rows"):
        truncation_curve(encode, decode, x[:0])
