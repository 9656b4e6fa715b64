"""The lean forward derivatives are torch's."""

import pytest
import torch
from torch import nn
from torch.func import jacfwd, jvp, vmap

from lightning_flows import RealNVP
from lightning_flows.jacobians import jacobian, tangents
from lightning_flows.transforms.pointwise import pointwise


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
