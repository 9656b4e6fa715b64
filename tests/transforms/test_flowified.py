"""Flowified layers: every proof that applies, densities in few dimensions, and given networks."""

import math
from functools import partial

import pytest
import torch
from torch import nn

from lightning_flows.bases import ConditionalNormal, ConvNormal
from lightning_flows.core.errors import ConfigError, ShapeError
from lightning_flows.flows import RealNVP
from lightning_flows.transforms import (
    Chain,
    FlowConv2d,
    FlowLinear,
    LeakyReLU,
    NoisePad,
    Orthogonal,
    SplineActivation,
    Tiles,
)
from lightning_flows.transforms.bijections.linear import reflect
from lightning_flows.transforms.surjections.flowify import flowify
from proofs.common import Build, make, near, pairs
from proofs.transform import PROOFS

D = {"density": partial(ConditionalNormal, hidden=(8,))}
CASES: dict[str, Build] = {
    "FlowLinear (square)": lambda: FlowLinear(3, 3),
    "FlowLinear (reducing)": lambda: FlowLinear(4, 2, **D),
    "FlowLinear (to one)": lambda: FlowLinear(2, 1),
    "FlowLinear (expanding)": lambda: FlowLinear(2, 4, **D),
    "FlowLinear (from one)": lambda: FlowLinear(1, 3, **D),
    "FlowLinear (scored by a flow)": lambda: FlowLinear(
        4, 2, density=partial(RealNVP, layers=2, hidden=(8,))
    ),
    "FlowLinear (image, reducing)": lambda: FlowLinear(3, 2, positions=(2, 3)),
    "FlowLinear (image, expanding)": lambda: FlowLinear(
        1, 2, positions=(2, 1), density=partial(ConvNormal, hidden=(4,))
    ),
    "FlowConv2d (windows apart)": lambda: FlowConv2d((1, 2, 4), 2, 2, stride=2),
    "FlowConv2d (overlapping, reducing)": lambda: FlowConv2d((1, 1, 4), 2, (1, 3)),
    "FlowConv2d (overlapping, expanding)": lambda: FlowConv2d((1, 1, 3), 3, (1, 2)),
    "FlowConv2d (strided, padded)": lambda: FlowConv2d((2, 4, 6), 3, 3, stride=2, padding=1),
    "FlowConv2d (1 × 1)": lambda: FlowConv2d((3, 2, 2), 3, 1),
    "Tiles (overlapping)": lambda: Tiles((1, 1, 3), (1, 2), (1, 1)),
    "Tiles (channels)": lambda: Tiles((2, 3, 3), (2, 2), (1, 1), noise=0.5),
    "Tiles (apart)": lambda: Tiles((1, 2, 4), (2, 2), (2, 2)),
    "NoisePad": lambda: NoisePad((1, 1, 1), (1, 0, 0, 1)),
    "NoisePad (channels)": lambda: NoisePad((2, 3, 2), (1, 2, 0, 1), noise=0.3),
    "SplineActivation (1,)": lambda: SplineActivation(1),
    "SplineActivation (image)": lambda: SplineActivation((2, 2, 3), bins=4, bound=3.0),
    "Chain (MLP)": lambda: Chain(
        [FlowLinear(3, 2, **D), SplineActivation(2), FlowLinear(2, 1), LeakyReLU(1, 0.8)]
    ),
    "Chain (wide)": lambda: Chain([FlowLinear(2, 3, **D), LeakyReLU(3, 0.8), FlowLinear(3, 1)]),
}


@pytest.mark.parametrize(("prove", "build"), pairs(CASES, PROOFS))
def test_flowified(prove, build):
    prove(build)


def test_kinds():
    assert [FlowLinear(3, m).kind for m in (2, 3, 4)] == [
        "inference surjection", "bijection", "generative surjection",
    ]  # fmt: skip
    assert FlowConv2d((1, 4, 4), 2, 2, stride=2).exact
    assert not FlowConv2d((1, 4, 4), 2, 2).exact
    assert FlowConv2d((1, 4, 4), 2, 2).kind == "stochastic"


@pytest.mark.parametrize("name", ["FlowLinear (reducing)", "FlowLinear (square)"])
def test_dropped_part_and_weight_make_the_whole_jacobian(name):
    """The rotation has determinant ±1, so that log|det| is that of the square part."""
    t = make(CASES[name])
    x = torch.randn(5, t.event_shape[0], dtype=torch.float64)
    z, contribution = t.encode(x)
    near(z, x @ t.weight.T + t.bias)
    dropped = reflect(x, t.vectors, adjoint=True)[:, t.rank :]
    scored = 0.0 if t.others is None else t.others.score(dropped, z, None)
    gram = t.weight @ t.weight.T
    near(contribution - scored, torch.linalg.slogdet(gram).logabsdet.expand(5) / 2)


def test_expanding_adds_at_right_angles():
    t = make(CASES["FlowLinear (expanding)"])
    x = torch.randn(5, 2, dtype=torch.float64)
    z, _ = t.encode(x)
    near((z - x @ t.weight.T - t.bias) @ t.weight, torch.zeros(5, 2, dtype=torch.float64))


@pytest.mark.parametrize("rows", [3, 40])
@pytest.mark.parametrize("k", [1, 4, 6])
def test_reflections_are_a_product(rows, k):
    torch.manual_seed(0)
    vectors = torch.randn(k, 6, dtype=torch.float64)
    q = torch.eye(6, dtype=torch.float64)
    for v in vectors:
        q = q @ (torch.eye(6, dtype=torch.float64) - 2 * torch.outer(v, v) / (v @ v))
    x = torch.randn(rows, 6, dtype=torch.float64)
    near(reflect(x, vectors), x @ q.T)
    near(reflect(x, vectors, adjoint=True), x @ q)
    near(reflect(x[:, :, None], vectors)[:, :, 0], x @ q.T)
    assert Orthogonal(6, reflections=k).vectors.shape == (k, 6)


@pytest.mark.parametrize("shape", [(5, 5), (2, 5), (5, 2), (1, 3), (3, 1), (1, 1)])
@pytest.mark.parametrize("seed", [0, 1])
def test_takes_any_weight_of_full_rank(shape, seed):
    torch.manual_seed(seed)
    weight, bias = torch.randn(shape).double(), torch.randn(shape[0]).double()
    layer = FlowLinear(shape[1], shape[0]).double()
    layer.set_weight(weight, bias)
    near(layer.weight, weight, 1e-10)
    near(layer.bias, bias)
    layer.set_weight(-weight)
    near(layer.weight, -weight, 1e-10)
    assert not layer.bias.any()


def test_singular_weights_stay_invertible():
    layer = FlowLinear(3, 3).double()
    for weight in (torch.zeros(3, 3), torch.ones(3, 3), torch.eye(3)[[0, 0, 1]]):
        layer.set_weight(weight)
        near(layer.weight, weight.double(), 1e-5)
        z, contribution = layer.encode(torch.randn(4, 3).double())
        assert contribution.isfinite().all()
        assert layer.decode(z)[0].isfinite().all()


def network():
    torch.manual_seed(1)
    return nn.Sequential(
        nn.Conv2d(1, 4, 3, stride=2, padding=1),
        nn.LeakyReLU(0.2),
        nn.Sequential(nn.Conv2d(4, 2, 2, stride=2, bias=False), nn.LeakyReLU(0.2), nn.Identity()),
        nn.Flatten(),
        nn.Linear(8, 12),
        nn.LeakyReLU(),
        nn.Linear(12, 3),
    )


def test_flowify_computes_the_network(monkeypatch):
    net = network().double()
    chain = flowify(net, (1, 8, 8), noise=1e-12)
    assert (chain.event_shape, chain.latent_shape, chain.kind) == ((1, 8, 8), (3,), "stochastic")
    x = torch.randn(5, 1, 8, 8, dtype=torch.float64)
    monkeypatch.setattr("lightning_flows.bases.conditional.normal_noise", lambda _, x: 0 * x)
    near(chain.encode(x)[0], net(x), 1e-6)


def test_flowified_network_is_exact_where_it_only_reduces():
    torch.manual_seed(0)
    net = nn.Sequential(nn.Linear(4, 3), nn.LeakyReLU(0.5), nn.Linear(3, 1))
    chain = flowify(net, 4)
    assert chain.exact
    x = torch.randn(6, 4)
    torch.testing.assert_close(chain.encode(x)[0], net(x))


def test_flowified_network_trains_and_draws():
    torch.manual_seed(0)
    chain = flowify(network(), (1, 8, 8))
    optimizer = torch.optim.Adam(chain.parameters(), lr=3e-3)
    x = torch.randn(64, 1, 8, 8) * torch.linspace(0.1, 1, 8)
    bounds = []
    for _ in range(60):
        optimizer.zero_grad()
        z, contribution = chain.encode(x)
        bound = (contribution - 0.5 * z.square().sum(1) - 1.5 * math.log(2 * math.pi)).mean()
        (-bound).backward()
        assert all(p.grad is not None and p.grad.isfinite().all() for p in chain.parameters())
        optimizer.step()
        bounds.append(bound.item())
    assert sum(bounds[-5:]) / 5 > bounds[0] + 10
    assert chain.decode(torch.randn(7, 3))[0].shape == (7, 1, 8, 8)


@pytest.mark.parametrize(
    ("layers", "message"),
    [
        ([nn.Linear(4, 4), nn.ReLU()], r"flowify cannot turn layer 1 \(ReLU is none of Linear"),
        (
            [nn.Sequential(nn.BatchNorm1d(4)), nn.LeakyReLU(0.0)],
            r"layer 0.0 \(BatchNorm1d is none of.*\), layer 1 \(LeakyReLU with slope 0.0\)",
        ),
        ([nn.Conv2d(4, 4, 1, groups=2)], "Conv2d with 2 groups"),
        ([nn.Conv2d(4, 4, 3, dilation=2)], r"Conv2d with dilation \(2, 2\)"),
        ([nn.Conv2d(4, 4, 3, padding="same")], "Conv2d whose padding is 'same', zeros"),
        ([nn.Flatten(2)], "Flatten of some dimensions"),
        ([nn.Identity()], "at least one layer"),
    ],
)
def test_flowify_names_what_it_cannot_turn(layers, message):
    with pytest.raises(ConfigError, match=message):
        flowify(nn.Sequential(*layers), 4)


@pytest.mark.parametrize(
    ("build", "error", "message"),
    [
        (lambda: flowify(nn.Sequential(nn.Linear(3, 2)), 4), ShapeError, r"layer 0 takes \(3,\)"),
        (
            lambda: flowify(nn.Sequential(nn.Conv2d(3, 2, 1)), (1, 4, 4)),
            ShapeError,
            "layer 0 takes images of 3 channels",
        ),
        (
            lambda: FlowConv2d((1, 5, 4), 2, 2, stride=2),
            ShapeError,
            "Windows of 2 × 2 pixels with stride 2 × 2 do not reach every pixel",
        ),
        (lambda: FlowConv2d((1, 5, 5), 2, 2, stride=3), ShapeError, "do not reach every pixel"),
        (lambda: FlowConv2d((1, 2, 2), 2, 3), ShapeError, "do not reach every pixel"),
        (lambda: FlowConv2d(4, 2), ShapeError, "expected is .channels, height, width"),
        (lambda: Tiles((1, 2, 2), (1, 1), (1, 1), noise=0.0), ConfigError, "noise is 0.0"),
        (lambda: NoisePad((1, 2, 2), (1, -1, 0, 0)), ConfigError, "four numbers from 0 up"),
        (lambda: NoisePad((1, 2, 2), (0, 0, 0, 0)), ConfigError, "not all zero"),
        (lambda: FlowLinear(0, 2), ShapeError, "positive integers"),
    ],
)
def test_refuses(build, error, message):
    with pytest.raises(error, match=message):
        build()
