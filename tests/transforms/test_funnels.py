"""Funnels against every proof that applies, and what a layer that drops dimensions can do."""

from functools import partial

import pytest
import torch

from lightning_flows.bases import ConditionalNormal, ConvNormal, Normal
from lightning_flows.core.errors import ConfigError, ShapeError
from lightning_flows.flows import RealNVP
from lightning_flows.transforms import (
    AffineCoupling,
    AffineFunnel,
    Chain,
    ConvFunnel,
    Funnel,
    LULinear,
    MLPFunnel,
    Softplus,
    SplineCoupling,
    SplineFunnel,
)
from proofs.common import Build, make, near, pairs
from proofs.transform import PROOFS

H = {"hidden": (16,)}
D = {"density": partial(ConditionalNormal, hidden=(16,))}
S = {"bins": 5, "bound": 3.0}
CASES: dict[str, Build] = {
    "AffineFunnel (2 to 1)": lambda: AffineFunnel(2, 1, **H, **D),
    "AffineFunnel (conditional)": lambda: AffineFunnel(5, 2, context_shape=3, **H, **D),
    "SplineFunnel (3 to 1)": lambda: SplineFunnel(3, 1, **S, **H, **D),
    "SplineFunnel (5 to 4)": lambda: SplineFunnel(5, 4, **S, **H),
    "SplineFunnel (autoregressive)": lambda: SplineFunnel(3, 2, autoregressive=True, **S, **H, **D),
    "SplineFunnel (autoregressive, conditional)": lambda: SplineFunnel(
        4, 2, autoregressive=True, context_shape=(1, 2), **S, **H, **D
    ),
    "SplineFunnel (scored by a flow)": lambda: SplineFunnel(
        3, 1, density=partial(RealNVP, layers=2, hidden=(8,)), **S, **H
    ),
    "MLPFunnel (linear)": lambda: MLPFunnel(4, 2, **D),
    "MLPFunnel (hidden, conditional)": lambda: MLPFunnel(3, 1, context_shape=2, **H, **D),
    "ConvFunnel (one window)": lambda: ConvFunnel((1, 2, 2)),
    "ConvFunnel (channels)": lambda: ConvFunnel(
        (2, 4, 2), hidden=(8,), density=partial(ConvNormal, hidden=(4,))
    ),
    "ConvFunnel (3 × 3)": lambda: ConvFunnel((1, 3, 6), kernel=3),
    "Funnel (of a coupling)": lambda: Funnel(AffineCoupling(2, context_shape=1, **H), 1, **D),
    "Chain of funnels": lambda: Chain(
        [
            SplineFunnel(3, 2, **S, **H, **D),
            LULinear(2),
            SplineCoupling(2, **S, **H),
            MLPFunnel(2, 1, **D),
        ]
    ),
}


@pytest.mark.parametrize(("prove", "build"), pairs(CASES, PROOFS))
def test_funnel(prove, build):
    prove(build)


def test_without_hidden_layers_it_is_the_ordinary_convolution():
    t = make(lambda: ConvFunnel((2, 4, 6), kernel=2))
    matrix, shift = t.transforms[-1].bijection.transform.transforms
    bias = shift.net.layers[0].bias + matrix.bias
    lower, upper = matrix._factors()
    order = t.transforms[1].order
    weight = torch.cat([lower @ upper, shift.net.layers[0].weight], 1)[:, order.argsort()]
    x = torch.randn(3, 2, 4, 6, dtype=torch.float64)
    expected = torch.nn.functional.conv2d(x, weight.reshape(2, 2, 2, 2), bias, stride=2)
    near(t.encode(x)[0], expected)


def test_the_latent_can_tell_what_was_dropped():
    """A dropped sum is scored given z: training reaches the entropy that no slice could."""
    torch.manual_seed(0)
    t = MLPFunnel(2, 1)
    base = Normal(1, learned=True)
    optimizer = torch.optim.Adam([*t.parameters(), *base.parameters()], lr=2e-2)
    common = torch.randn(1000, 1)
    x = torch.cat([common, common + 0.1 * torch.randn(1000, 1)], 1)
    for _ in range(200):
        optimizer.zero_grad()
        z, contribution = t.encode(x)
        loss = -(base.log_prob(z) + contribution).mean()
        loss.backward()
        optimizer.step()
    entropy = 2 * 1.4189 + torch.tensor(0.1).log()
    assert loss < entropy + 0.1


@pytest.mark.parametrize(
    ("build", "error", "message"),
    [
        (lambda: SplineFunnel(3, 3), ConfigError, "latent_features is 3; of 3 features"),
        (lambda: MLPFunnel(3, 0), ConfigError, "accepted are 1 to 2"),
        (lambda: ConvFunnel((1, 4, 4), kernel=1), ConfigError, "kernel is 1; accepted"),
        (lambda: ConvFunnel((1, 5, 4)), ShapeError, "multiples of 2"),
        (lambda: ConvFunnel(4), ShapeError, r"Squeeze takes \(channels"),
        (
            lambda: Funnel(AffineCoupling(2, context_shape=2), 1),
            ShapeError,
            r"AffineCoupling has context_shape \(2,\); what a funnel drops, .* makes \(1,\)",
        ),
        (
            lambda: Funnel(SplineFunnel(2, 1, context_shape=1), 1),
            ConfigError,
            r"SplineFunnel is no bijection \(inference surjection\), which a funnel needs",
        ),
        (
            lambda: Funnel(Softplus(2), 1),
            ShapeError,
            r"Softplus leads from \(-inf, inf\) to \[0, inf\); a funnel needs a map from reals",
        ),
        (
            lambda: MLPFunnel(4, 2, density=Normal(3)),
            ShapeError,
            r"Normal scores events of shape \(3,\); the layer drops or adds \(2,\)",
        ),
    ],
)
def test_refuses(build, error, message):
    with pytest.raises(error, match=message):
        build()
