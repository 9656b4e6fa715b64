"""Entropies and dimensions of latents, against closed forms."""

import math
from collections.abc import Sequence

import pytest
import torch
from torch import Tensor

from lightning_flows.errors import ConfigError
from lightning_flows.jacobians import components
from lightning_flows.metrics import (
    IntrinsicDimension,
    ManifoldEntropy,
    ParticipationRatio,
    TotalCorrelation,
    intrinsic_dimension,
    manifold_entropy,
    participation_ratio,
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
