"""What orthogonal columns of the decoder's Jacobian say about the factors behind the data."""

import math

import pytest
import torch
from torch import Tensor

from lightning_flows.jacobians.products import value_and_jacobian
from lightning_flows.objectives import Embedded, ExactVolume, OffDiagonal

SIDES = torch.tensor([2.0, 1.0], dtype=torch.float64)
STEPS = 300
STARTS = [15.0, 65.0]  # degrees


def roll(s: Tensor) -> Tensor:
    """A sheet rolled up in space, lengths kept."""
    return torch.stack([s[:, 0].sin(), s[:, 0].cos(), s[:, 1]], 1)


def unroll(x: Tensor) -> Tensor:
    return torch.stack([torch.atan2(x[:, 0], x[:, 1]), x[:, 2]], 1)


def sheet(all_combinations: bool) -> Tensor:
    """Points of a sheet; a triangle of it where factors are never large together."""
    grid = torch.linspace(0, 1, 9, dtype=torch.float64)
    s = torch.cartesian_prod(grid, grid)
    return roll(SIDES * (s if all_combinations else s[s.sum(1) < 1 + 1e-9]))


def learned(x: Tensor, degrees: float) -> tuple[Tensor, float]:
    """Maximum likelihood with `OffDiagonal` and a prior that is uniform on a box.

    The decoder is the rolled image of an affine map; the box is the smallest that holds all data.

    Returns:
        Columns of unit length of the affine map, the one that leans most to factor 0 first, and the
        loss, nats.
    """
    angle = math.radians(degrees)
    turn = [[math.cos(angle), -math.sin(angle)], [math.sin(angle), math.cos(angle)]]
    matrix = torch.tensor(turn, dtype=torch.float64, requires_grad=True)
    optimizer = torch.optim.Adam([matrix], lr=0.03)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, STEPS)
    for _ in range(STEPS):
        inside = torch.linalg.solve(matrix, unroll(x).T).T
        low, high = inside.amin(0), inside.amax(0)

        def decode(u: Tensor, low: Tensor = low, high: Tensor = high) -> Tensor:
            return roll((low + (high - low) * u) @ matrix.T)

        u = ((inside - low) / (high - low))[:4]
        way = ExactVolume()(lambda _, u=u: u, decode, x)
        loss = (way.log_volume + OffDiagonal(1.0)(unroll, decode, x, way)).mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
    columns = torch.nn.functional.normalize(matrix.detach(), dim=0).abs()
    return columns[:, columns[0].argsort(descending=True)], loss.item()


@pytest.mark.parametrize("degrees", STARTS)
def test_factors_of_a_sheet_are_found_where_all_combinations_occur(degrees):
    columns, loss = learned(sheet(True), degrees)
    torch.testing.assert_close(columns, torch.eye(2).double(), rtol=0, atol=0.01)
    assert loss == pytest.approx(SIDES.log().sum().item(), abs=0.02)


def test_where_a_combination_is_missing_other_factors_are_as_likely():
    """Rectangles around a right triangle: two, one along its legs and one along its hypotenuse."""
    found = [learned(sheet(False), degrees) for degrees in STARTS]
    losses = torch.tensor([loss for _, loss in found])
    assert (losses - SIDES.log().sum()).abs().max() < 0.02
    leans = torch.tensor([columns[1, 0] for columns, _ in found])
    legs, hypotenuse = leans < 0.02, (leans - 1 / 5**0.5).abs() < 0.02
    assert (legs | hypotenuse).all()
    assert legs.any()
    assert hypotenuse.any()


def swirl(latents: Tensor, strength: float = 0.06, steps: int = 60) -> Tensor:
    """Coordinates (u, v) of the unit square: level sets of a height, its lines of steepest rise.

    The height h(x, y) = y + strength · sin πy · cos 2πx is 0 on the lower edge and 1 on the upper,
    and has no slope across the others. A point starts at (v, 0) and rises to the height u.
    """

    def rise(point: Tensor) -> Tensor:
        x, y = math.pi * point[:, 0], math.pi * point[:, 1]
        along = -2 * math.pi * strength * y.sin() * (2 * x).sin()
        up = 1 + math.pi * strength * y.cos() * (2 * x).cos()
        slope = torch.stack([along, up], 1)
        return slope / slope.square().sum(1, keepdim=True)

    u, v = latents[:, :1], latents[:, 1]
    point, step = torch.stack([v, 0 * v], 1), u / steps
    for _ in range(steps):  # Runge-Kutta of fourth order
        first = rise(point)
        second = rise(point + step / 2 * first)
        third = rise(point + step / 2 * second)
        fourth = rise(point + step * third)
        point = point + step / 6 * (first + 2 * second + 2 * third + fourth)
    return point


def test_orthogonal_columns_and_all_combinations_are_not_enough_for_curved_factors():
    """The square has its own coordinates and the swirled ones; columns of both are orthogonal."""
    grid = torch.linspace(0, 1, 11, dtype=torch.float64)
    u = torch.cartesian_prod(grid, grid)
    points, j = value_and_jacobian(swirl, u)
    penalty = OffDiagonal(1.0)(swirl, swirl, points, Embedded(u, points, u[:, 0], j))
    assert penalty.max() < 1e-5  # of Runge-Kutta steps
    assert torch.linalg.det(j).abs().min() > 0.1
    for place, latent in ((1, 0), (0, 1)):  # edges onto edges: height is u, x at the sides is v
        for end in (0.0, 1.0):
            edge = points[u[:, latent] == end][:, place]
            torch.testing.assert_close(edge, torch.full_like(edge, end), rtol=0, atol=1e-6)
    # with u held fixed, the true second coordinate changes with v, and so with both
    middle = points[u[:, 0] == 0.5][:, 1]
    assert middle.max() - middle.min() > 0.1
