"""Encoders and decoders looked at through their Jacobians."""

import pytest
import torch
from torch import Tensor

from lightning_flows import PaddedFlow
from lightning_flows.core.errors import ConfigError, ShapeError
from lightning_flows.metrics import (
    ConditionNumber,
    EncoderDecoderGap,
    condition_number,
    encoder_decoder_gap,
)

GENERATOR = torch.Generator().manual_seed(0)
A = torch.randn(3, 8, generator=GENERATOR, dtype=torch.float64)
B = torch.randn(8, 3, generator=GENERATOR, dtype=torch.float64)
X = torch.randn(5, 2, 4, generator=GENERATOR, dtype=torch.float64)


def encode(x: Tensor) -> Tensor:
    return x.flatten(1).sin() @ A.mT


def decode(z: Tensor) -> Tensor:
    return (z @ B.mT).view(-1, 2, 4)


@pytest.mark.parametrize("chunk_size", [None, 2])
def test_the_gap_is_that_of_the_product_of_the_jacobians(chunk_size: int | None) -> None:
    for at, point in (("x", X), ("reconstruction", decode(encode(X)))):
        f = A * point.flatten(1).cos()[:, None]
        expected = torch.linalg.matrix_norm(f @ B - torch.eye(3)) / 3**0.5
        gap = encoder_decoder_gap(encode, decode, X, at=at, chunk_size=chunk_size)
        torch.testing.assert_close(gap, expected)
        metric = EncoderDecoderGap(at=at, chunk_size=chunk_size)
        for part in X.split(3):
            metric.update(encode, decode, part)
        assert float(metric.compute()) == pytest.approx(float(expected.mean()))
        assert float(metric.standard_error()) == pytest.approx(float(expected.std() / 5**0.5))


def test_the_gap_of_a_padded_flow_is_zero_on_its_manifold_alone() -> None:
    torch.manual_seed(0)
    flow = PaddedFlow(4, latent_features=2).double()
    for parameter in flow.parameters():
        torch.nn.init.normal_(parameter, std=0.05)
    x = torch.randn(6, 4, dtype=torch.float64)
    with torch.inference_mode():
        on = encoder_decoder_gap(flow.encode, flow.decode, x, at="reconstruction")
        off = encoder_decoder_gap(flow.encode, flow.decode, x)
    assert on.max() < 1e-9
    assert off.min() > 1e-3


def test_pairs_that_do_not_fit_are_refused() -> None:
    with pytest.raises(ShapeError, match=r"has shape \(5, 3\); x has \(5, 2, 4\)"):
        encoder_decoder_gap(encode, lambda z: z, X)
    with pytest.raises(ConfigError, match="at is 'z'"):
        encoder_decoder_gap(encode, decode, X, at="z")


def test_the_condition_number_is_that_of_the_jacobian() -> None:
    z = torch.zeros(3, 3, dtype=torch.float64)
    torch.testing.assert_close(
        condition_number(decode, z), torch.linalg.cond(B).expand(3), rtol=1e-10, atol=0
    )
    slopes = torch.tensor([[4.0, 2.0], [3.0, 0.0], [torch.nan, 1.0], [0.0, 0.0]])
    numbers = condition_number(lambda x: x * slopes, torch.ones(4, 2))
    torch.testing.assert_close(
        numbers, torch.tensor([2.0, torch.inf, torch.nan, torch.inf]), equal_nan=True
    )
    metric = ConditionNumber()
    for slope in ([1.0, 8.0], [1.0, 2.0], [1.0, 0.0]):
        metric.update(lambda x, slope=slope: x * torch.tensor(slope), torch.ones(1, 2))
    assert metric.compute() == 8
    for _ in range(3):  # most Jacobians are singular now
        metric.update(lambda x: 0 * x, torch.ones(1, 2))
        assert metric.compute() >= 8
    assert metric.compute() == torch.inf
    metric.update(lambda x: torch.nan * x, torch.ones(1, 2))
    assert metric.compute().isnan()
