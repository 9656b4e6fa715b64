import pytest
import torch
from torch import Tensor, nn

from lightning_flows.core.errors import ConfigError, ShapeError
from lightning_flows.jacobians.products import (
    cotangents,
    jacobian,
    linearized,
    tangents,
    value_and_jacobian,
)


def make_map() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Flatten(), nn.Linear(6, 8), nn.Tanh(), nn.Linear(8, 5), nn.Unflatten(1, (5, 1))
    ).double()


def reference(fn: nn.Module, z: Tensor) -> Tensor:
    rows = [
        torch.autograd.functional.jacobian(lambda point: fn(point[None])[0], point) for point in z
    ]
    return torch.stack(rows).reshape(len(z), 5, 6)


@pytest.mark.parametrize("chunk_size", [None, 1, 4, 100])
def test_the_jacobian_is_that_of_autograd(chunk_size: int | None) -> None:
    fn, z = make_map(), torch.randn(3, 2, 3, dtype=torch.float64)
    torch.testing.assert_close(jacobian(fn, z, chunk_size=chunk_size), reference(fn, z))


@pytest.mark.parametrize("mode", [torch.no_grad, torch.inference_mode])
def test_it_works_where_no_graph_is_recorded(mode: type) -> None:
    fn, z = make_map(), torch.randn(3, 2, 3, dtype=torch.float64)
    expected = reference(fn, z)
    with mode():
        found = jacobian(fn, z.clone(), chunk_size=2)
    assert not found.requires_grad
    torch.testing.assert_close(found, expected)


def test_gradients_flow_through_it() -> None:
    fn, z = make_map(), torch.randn(3, 2, 3, dtype=torch.float64, requires_grad=True)
    parameters = [z, *(p for p in fn.parameters() if p.ndim > 1)]
    found = torch.autograd.grad(jacobian(fn, z, chunk_size=4).square().sum(), parameters)
    rows = [
        torch.autograd.functional.jacobian(
            lambda point: fn(point[None])[0], point, create_graph=True
        )
        for point in z
    ]
    expected = torch.autograd.grad(torch.stack(rows).square().sum(), parameters)
    torch.testing.assert_close(found, expected)


def test_tangents_are_products_with_the_jacobian() -> None:
    fn, z = make_map(), torch.randn(3, 2, 3, dtype=torch.float64)
    vectors = torch.randn(4, 3, 2, 3, dtype=torch.float64)
    value, derivatives = tangents(fn, z, vectors)
    expected = torch.einsum("boi,kbi->kbo", jacobian(fn, z), vectors.flatten(2))
    torch.testing.assert_close(value, fn(z))
    torch.testing.assert_close(derivatives.flatten(2), expected)


@pytest.mark.parametrize("count", [1, 4])
def test_cotangents_are_products_from_the_left(count: int) -> None:
    fn, z = make_map(), torch.randn(3, 2, 3, dtype=torch.float64, requires_grad=True)
    vectors = torch.randn(count, 3, 5, 1, dtype=torch.float64)
    value, pulled = cotangents(fn, z, vectors)
    rows = [torch.autograd.grad((fn(z) * v).sum(), z, create_graph=True)[0] for v in vectors]
    torch.testing.assert_close(value, fn(z))
    torch.testing.assert_close(pulled, torch.stack(rows))
    # with their graph, both in the parameters and in the points
    inputs = [z, *(p for p in fn.parameters() if p.ndim > 1)]
    found = torch.autograd.grad(pulled.square().sum() + value.sum(), inputs)
    expected = torch.autograd.grad(torch.stack(rows).square().sum() + fn(z).sum(), inputs)
    torch.testing.assert_close(found, expected)


@pytest.mark.parametrize("mode", [torch.enable_grad, torch.no_grad, torch.inference_mode])
@pytest.mark.parametrize("count", [1, 4])
def test_products_from_both_sides_share_one_evaluation(count: int, mode: type) -> None:
    fn, z = make_map(), torch.randn(3, 2, 3, dtype=torch.float64)
    right = torch.randn(count, 3, 2, 3, dtype=torch.float64)
    left = torch.randn(count, 3, 5, 1, dtype=torch.float64)
    matrix, calls = jacobian(fn, z), []
    with mode():
        value, push, pull = linearized(lambda z: calls.append(1) or fn(z), z.clone())
        pushed, pulled = push(right), pull(left)
        torch.testing.assert_close(push(right), pushed)
    assert len(calls) == 1
    torch.testing.assert_close(value, fn(z))
    torch.testing.assert_close(
        pushed.flatten(2), torch.einsum("boi,kbi->kbo", matrix, right.flatten(2))
    )
    torch.testing.assert_close(
        pulled.flatten(2), torch.einsum("boi,kbo->kbi", matrix, left.flatten(2))
    )


@pytest.mark.parametrize("chunk_size", [None, 2])
def test_some_columns_alone(chunk_size: int | None) -> None:
    fn, z = make_map(), torch.randn(3, 2, 3, dtype=torch.float64)
    chosen = torch.tensor([5, 0, 2])
    value, columns = value_and_jacobian(fn, z, chunk_size=chunk_size, columns=chosen)
    torch.testing.assert_close(value, fn(z))
    torch.testing.assert_close(columns, jacobian(fn, z)[:, :, chosen])


def test_chunks_are_computed_again_and_have_the_same_gradients() -> None:
    fn, z = make_map(), torch.randn(3, 2, 3, dtype=torch.float64, requires_grad=True)
    calls: list[int] = []

    def counted(z: Tensor) -> Tensor:
        calls.append(len(z))
        value: Tensor = fn(z)
        return value

    def gradients(chunk_size: int | None) -> tuple[Tensor, ...]:
        value, columns = value_and_jacobian(counted, z, chunk_size=chunk_size)
        return torch.autograd.grad(
            columns.square().sum() + value.square().sum(), [z, *fn.parameters()]
        )

    whole = gradients(None)
    assert len(calls) == 1
    torch.testing.assert_close(gradients(2), whole)
    assert len(calls) == 1 + 3 + 3  # forward, and once more in the backward pass


def test_expanded_points_are_points() -> None:
    fn, z = make_map(), torch.randn(1, 2, 3, dtype=torch.float64)
    torch.testing.assert_close(jacobian(fn, z.expand(3, 2, 3)), jacobian(fn, z.repeat(3, 1, 1)))


def test_the_map_is_evaluated_once_for_all_directions() -> None:
    seen: list[int] = []

    def fn(z: Tensor) -> Tensor:
        seen.append(len(z))
        return z.sin()

    tangents(fn, torch.randn(3, 2), torch.randn(7, 3, 2))
    assert seen == [3]


def test_all_directions_see_the_same_noise() -> None:
    z = torch.randn(3, 2)
    _, derivatives = tangents(lambda z: z * torch.randn_like(z), z, torch.ones(5, 3, 2))
    assert (derivatives == derivatives[:1]).all()
    assert derivatives.std() > 0


def test_wrong_arguments_are_named() -> None:
    with pytest.raises(ShapeError, match=r"\(2, 3\).*\(k, \*\(4, 3\)\)"):
        tangents(torch.sin, torch.zeros(4, 3), torch.zeros(2, 3))
    with pytest.raises(ConfigError, match="chunk_size is 0"):
        jacobian(torch.sin, torch.zeros(4, 3), chunk_size=0)
