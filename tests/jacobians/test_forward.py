"""The lean forward derivatives are torch's."""

import pytest
import torch
from torch import nn
from torch.func import jvp

from lightning_flows.jacobians import tangents


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
