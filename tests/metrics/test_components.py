"""Entropies and dimensions of latents, against closed forms."""

import math
from collections.abc import Sequence

import pytest
import torch
from torch import Tensor

from lightning_flows.components import components
from lightning_flows.core.errors import ConfigError, ShapeError
from lightning_flows.metrics import (
    IntrinsicDimension,
    ManifoldEntropy,
    ParticipationRatio,
    SpannedDimension,
    TotalCorrelation,
    intrinsic_dimension,
    manifold_entropy,
    participation_ratio,
    spanned_dimension,
    spanned_variances,
    total_correlation,
)

GENERATOR = torch.Generator().manual_seed(0)
MATRIX = torch.randn(5, 3, generator=GENERATOR, dtype=torch.float64)
Z = torch.randn(20000, 3, generator=GENERATOR, dtype=torch.float64)


def linear(z: Tensor) -> Tensor:
    return z @ MATRIX.T


def log_volume(matrix: Tensor) -> float:
    return 0.5 * float(torch.logdet(matrix.T @ matrix))


@pytest.mark.parametrize("latents", [None, [1], [0, 2]])
def test_the_entropy_of_a_gaussian_on_its_plane(latents: Sequence[int] | None) -> None:
    chosen = [0, 1, 2] if latents is None else [*latents]
    metric = ManifoldEntropy(latents=latents)
    for part in Z.split(7000):
        metric.update(linear, part)
    closed = 0.5 * len(chosen) * math.log(2 * math.pi * math.e) + log_volume(MATRIX[:, chosen])
    assert float(metric.compute()) == pytest.approx(closed, abs=0.03)


def test_the_entropy_of_a_bijection_is_minus_the_log_density() -> None:
    z = Z[:6]
    x = z.sinh()
    expected = -(torch.distributions.Normal(0, 1).log_prob(x.asinh()) - x.asinh().cosh().log())
    torch.testing.assert_close(manifold_entropy(torch.sinh, z), expected.sum(1))


def test_total_correlation_is_entropies_of_parts_less_that_of_the_whole() -> None:
    z = Z[:4]
    groups = [[0, 2], [1]]
    parts = sum(manifold_entropy(linear, z, latents=group) for group in groups)
    found = total_correlation(linear, z, groups=groups)
    torch.testing.assert_close(found, parts - manifold_entropy(linear, z))
    singles = MATRIX.norm(dim=0).log().sum().item() - log_volume(MATRIX)
    metric = TotalCorrelation()
    metric.update(linear, z)
    assert float(metric.compute()) == pytest.approx(singles)
    assert 0 < float(found[0]) < singles
    orthogonal = total_correlation(lambda z: z @ torch.linalg.qr(MATRIX).Q.T, z)
    torch.testing.assert_close(orthogonal, torch.zeros(4).double())
    torch.testing.assert_close(
        total_correlation(linear, z, groups=[[0, 1, 2]]), torch.zeros(4).double()
    )


def test_wrong_latents_are_named() -> None:
    with pytest.raises(
        ConfigError, match=r"latents is \[3\]; accepted are different ones of 0 to 2"
    ):
        manifold_entropy(linear, Z[:2], latents=[3])
    with pytest.raises(ConfigError, match="each of the latents 0 to 2 once"):
        total_correlation(linear, Z[:2], groups=[[0], [1]])


def test_participation_counts_effective_directions() -> None:
    scales = torch.tensor([[2.0, 2, 2, 0], [3, 0, 0, 0], [1, 1, 0.1, 0.1], [torch.nan, 1, 1, 1]])
    found = participation_ratio(scales)
    torch.testing.assert_close(found[:2], torch.tensor([3.0, 1.0]))
    assert 2 < found[2] < 2.1
    assert participation_ratio(scales[2:3], noise=0.1).item() == pytest.approx(2)
    metric = ParticipationRatio()
    metric.update(scales[:1])
    metric.update(scales[[1, 3]])  # the last is no number
    assert float(metric.compute()) == pytest.approx(2)


def test_the_dimension_is_that_of_the_components() -> None:
    scales = torch.tensor([2.0, 1.0, 0.3, 0.1], dtype=torch.float64)
    found = components(lambda x: x / scales, lambda z: z * scales, torch.ones(3, 4).double())
    for options, expected in (
        ({"noise": 0.1}, 3),
        ({"tikhonov": 0.1}, 1),
        ({"tikhonov": 0.1, "threshold": 3.0}, 2),
        ({}, 4),
        ({"relative": 0.01}, 3),
    ):
        by_components = components(
            lambda x: x / scales, lambda z: z * scales, torch.ones(3, 4).double(), **options
        )
        counted = intrinsic_dimension(found.scales, **options)
        assert counted.tolist() == by_components.dimension.tolist() == [expected] * 3
        metric = IntrinsicDimension(**options)
        metric.update(found.scales)
        metric.update(found.scales * torch.nan)
        assert float(metric.compute()) == expected


def bent(z: Tensor) -> Tensor:
    """A curve in the first three of five dimensions; what is left is 0.1 wide."""
    t = z[:, :1]
    return torch.cat([t, t.sin(), t.cos(), torch.zeros_like(z[:, 3:])], 1) + 0.1 * z


def straight(x: Tensor) -> Tensor:
    t = x[:, :1] / 1.1
    return (x - torch.cat([t, t.sin(), t.cos(), torch.zeros_like(x[:, 3:])], 1)) / 0.1


def test_a_curve_spans_more_dimensions_than_it_has() -> None:
    z = torch.randn(4000, 5, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    x = bent(z)
    found = components(straight, bent, x, noise=0.1)
    torch.testing.assert_close(straight(x), z)
    local = intrinsic_dimension(found.scales, noise=0.1, threshold=2.0)
    assert local.tolist() == found.dimension.new_ones(len(x)).tolist()
    assert spanned_dimension(found.axes, found.scales, noise=0.1, threshold=2.0) == 3
    metric = SpannedDimension(5, noise=0.1, threshold=2.0)
    for part in torch.arange(len(x)).split(1500):
        metric.update(found.axes[part], found.scales[part])
    metric.update(found.axes[:2] * torch.nan, found.scales[:2])
    assert float(metric.compute()) == 3


def test_the_spanned_variances_exceed_the_covariance_of_samples() -> None:
    """Poincaré: Var f(z) ≤ E ‖∇f(z)‖² along every direction; equal where f is linear."""
    z = torch.randn(50_000, 5, generator=torch.Generator().manual_seed(2), dtype=torch.float64)
    found = components(straight, bent, bent(z[:5000]))
    moment = torch.einsum("nk,nki,nkj->ij", found.variances, found.axes, found.axes) / 5000
    covariance = torch.cov(bent(z).T)
    assert torch.linalg.eigvalsh(moment - covariance).min() > -0.002
    assert torch.linalg.eigvalsh(moment - covariance).max() > 0.2
    torch.testing.assert_close(
        spanned_variances(found.axes, found.variances), torch.linalg.eigvalsh(moment).flip(0)
    )
    flat = linear(Z[:50])
    one = components(lambda x: x @ torch.linalg.pinv(MATRIX).T, linear, flat)
    expected = torch.linalg.eigvalsh(MATRIX @ MATRIX.T).flip(0)
    found = spanned_variances(one.axes, one.variances)
    torch.testing.assert_close(found, expected, rtol=1e-9, atol=1e-9)


def test_spanned_dimensions_without_points_and_of_other_events() -> None:
    metric = SpannedDimension(4)
    metric.update(torch.full((2, 3, 2, 2), torch.nan), torch.ones(2, 3))
    assert metric.compute().isnan()
    assert spanned_dimension(torch.full((2, 3, 4), torch.nan), torch.ones(2, 3)).isnan()
    with pytest.raises(ShapeError, match="axes have 5 entries each; features is 4"):
        metric.update(torch.ones(2, 3, 5), torch.ones(2, 3))
    with pytest.raises(ConfigError, match="features is 0"):
        SpannedDimension(0)
