"""The lean forward derivatives are torch's."""

import pytest
import torch
from torch import nn
from torch.func import jacfwd, jvp, vmap
from torch.nn import functional as F

from lightning_flows import RealNVP
from lightning_flows.core.slopes import pointwise
from lightning_flows.jacobians import forward, jacobian, tangents, torch_derivatives
from lightning_flows.transforms.bijections import univariate


@pytest.fixture
def net():
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Linear(3, 5), nn.SiLU(), nn.Linear(5, 5, bias=False), nn.Tanh(), nn.Linear(5, 4)
    ).double()


@pytest.mark.parametrize("graph", [True, False])
@pytest.mark.parametrize("count", [1, 3])
def test_derivatives_and_values_are_torchs(net, count, graph):
    z = torch.randn(6, 3, dtype=torch.float64, requires_grad=True)
    vectors = torch.randn(count, 6, 3, dtype=torch.float64)
    value, found = tangents(net, z, vectors, graph=graph)
    expected = torch.stack([jvp(net, (z,), (vector,))[1] for vector in vectors])
    torch.testing.assert_close(value, net(z))
    torch.testing.assert_close(found.detach(), expected.detach())
    assert found.requires_grad is graph
    inputs = [z, *net.parameters()]
    options = {"retain_graph": True, "materialize_grads": True}
    pairs = [(value, net(z)), (found, expected)] if graph else [(value, net(z))]
    for ours, torchs in pairs:
        torch.testing.assert_close(
            torch.autograd.grad(ours.square().sum(), inputs, **options),
            torch.autograd.grad(torchs.square().sum(), inputs, **options),
        )


def test_weights_that_depend_on_the_point_move_with_it():
    weight = torch.randn(4, 3, dtype=torch.float64)

    def attention_like(z):
        return nn.functional.linear(z, weight * z.sum().sin())

    z, vector = torch.randn(2, 6, 3, dtype=torch.float64)
    found = tangents(attention_like, z, vector[None])[1][0]
    torch.testing.assert_close(found, jvp(attention_like, (z,), (vector,))[1])


@pytest.mark.parametrize("direction", ["encode", "decode"])
@pytest.mark.parametrize("mode", [torch.enable_grad, torch.no_grad, torch.inference_mode])
def test_the_jacobian_of_a_flow_is_torchs(direction, mode):
    torch.manual_seed(0)
    flow = RealNVP(5, layers=3, hidden=(8,), activation="silu", mixing="permutation").double()
    with torch.no_grad():
        for parameter in flow.parameters():
            parameter += 0.3 * torch.randn_like(parameter)
    fn, z = getattr(flow, direction), torch.randn(4, 5, dtype=torch.float64)
    expected = vmap(jacfwd(lambda row: fn(row[None])[0]))(z)
    with mode():
        found = jacobian(fn, z.clone(), chunk_size=2)
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-10)


@pytest.mark.parametrize("graph", [True, False])
@pytest.mark.parametrize("count", [1, 3])
def test_pointwise_functions_may_broadcast_and_hold_some_tensors_still(count, graph):
    runs = []

    @pointwise(
        lambda a, b, c, *, power: (
            b.exp() * (a * b.exp()).cos(),
            a * b.exp() * (a * b.exp()).cos(),
            power * c ** (power - 1),
        )
    )
    def bent(a, b, c, *, power):
        runs.append(a.shape)
        return (a * b.exp()).sin() + c**power

    weight = torch.randn(3, dtype=torch.float64, requires_grad=True)

    def fn(z):
        return bent(z, z.sum(1, keepdim=True), weight, power=3)

    z = torch.randn(6, 3, dtype=torch.float64, requires_grad=True)
    vectors = torch.randn(count, 6, 3, dtype=torch.float64)
    value, found = tangents(fn, z, vectors, graph=graph)
    assert runs == [(6, 3)]  # once for all directions
    expected = torch.stack([jvp(fn, (z,), (vector,))[1] for vector in vectors])
    torch.testing.assert_close(value, fn(z))
    torch.testing.assert_close(found.detach(), expected.detach())
    assert found.requires_grad is graph
    options = {"retain_graph": True, "materialize_grads": True}
    pairs = [(value, fn(z)), *([(found, expected)] if graph else [])]
    for ours, torchs in pairs:
        torch.testing.assert_close(
            torch.autograd.grad(ours.square().sum(), [z, weight], **options),
            torch.autograd.grad(torchs.square().sum(), [z, weight], **options),
        )


FUNCTIONS = {
    "silu": lambda x: F.silu(x),
    "silu of a keyword": lambda x: F.silu(input=x),
    "silu in place": lambda x: F.silu(x.clone(), inplace=True),
    "silu in place by position": lambda x: F.silu(x.clone(), True),
    "silu not in place": lambda x: F.silu(x, inplace=False),
    "module in place": lambda x: nn.SiLU(inplace=True)(x.clone()),
    "linear": lambda x: F.linear(x, WEIGHT.to(x)),
    "linear with bias": lambda x: F.linear(x, WEIGHT.to(x), WEIGHT[:, 0].to(x)),
    "linear of keywords": lambda x: F.linear(bias=None, weight=WEIGHT.to(x), input=x),
    "linear of a moving bias": lambda x: F.linear(x, WEIGHT.to(x), x[0, :1]),
    "gelu": lambda x: F.gelu(x, approximate="tanh"),
    "relu in place": lambda x: F.relu(x.clone(), inplace=True),
    "leaky": lambda x: F.leaky_relu(x.clone(), 0.2, inplace=True),
    "softplus": lambda x: F.softplus(x, beta=2.0, threshold=5.0),
    "elu": lambda x: F.elu(x, alpha=0.5),
    "bounded": lambda x: univariate._bounded(x, bound=2.0),
    "scaled": lambda x: univariate._scaled_and_moved(x, x[:, :1], (x / 8).flip(1)),
    "scaled back": lambda x: univariate._moved_and_scaled_back(x.flip(1), x, x[:1] / 8),
}
WEIGHT = torch.randn(1, 5, dtype=torch.float64, generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize("name", FUNCTIONS)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("graph", [True, False])
def test_every_rule_is_torchs_with_every_keyword(name, dtype, graph):
    fn = FUNCTIONS[name]
    generator = torch.Generator().manual_seed(0)
    points, *vectors = torch.randn(4, 8, 5, dtype=torch.float64, generator=generator).to(dtype)
    vectors = torch.stack(vectors)
    for scale in (0.0, 1.0, 5.0, 30.0):
        z = scale * points
        expected = torch.stack([jvp(fn, (z,), (vector,))[1] for vector in vectors])
        for count in (1, 3):
            value, found = tangents(fn, z, vectors[:count], graph=graph)
            torch.testing.assert_close(value, fn(z))
            torch.testing.assert_close(found, expected[:count])


def test_derivatives_of_derivatives_are_torchs(net):
    z, *vectors = torch.randn(4, 6, 3, dtype=torch.float64)

    def along(tangent, fn, vector):
        return lambda z: tangent(fn, z, vector)

    def ours(fn, z, vector):
        return tangents(fn, z, vector[None])[1][0]

    def theirs(fn, z, vector):
        return jvp(fn, (z,), (vector,))[1]

    found, expected = (
        along(way, along(way, along(way, net, vectors[0]), vectors[1]), vectors[2])(z)
        for way in (ours, theirs)
    )
    torch.testing.assert_close(found, expected)


def test_in_place_activations_leave_a_free_form_flow_its_density():
    densities = []
    for inplace in (False, True):
        torch.manual_seed(0)
        net = nn.Sequential(nn.Linear(3, 8), nn.SiLU(inplace=inplace), nn.Linear(8, 3)).double()
        densities.append(torch.linalg.slogdet(jacobian(net, torch.ones(2, 3).double()))[1])
    torch.testing.assert_close(*densities)


@pytest.mark.parametrize("chunk_size", [None, 2])
def test_the_rules_can_be_switched_off(net, chunk_size, monkeypatch):
    calls = []
    monkeypatch.setattr(
        forward.LeanForward,
        "_linear",
        lambda self, *args: (calls.append(1), F.linear(*args))[1],
    )
    z = torch.randn(6, 3, dtype=torch.float64, requires_grad=True)
    with torch_derivatives():
        found = jacobian(net, z, chunk_size=chunk_size)
    found.square().sum().backward()  # chunks are computed again, after the switch
    assert not calls
    torch.testing.assert_close(found, vmap(jacfwd(lambda row: net(row[None])[0]))(z))
    jacobian(net, z)
    assert calls
