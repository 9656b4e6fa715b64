import math

import pytest
import torch
from torch import Tensor

from lightning_flows.components import traverse
from lightning_flows.core.errors import ConfigError


def to_sphere(z: Tensor) -> Tensor:
    """Inverse stereographic projection of latents of any scale."""
    square = z.square().sum(1, keepdim=True)
    return torch.cat([2 * z, square - 1], 1) / (1 + square)


def from_sphere(x: Tensor) -> Tensor:
    return x[:, :-1] / (1 - x[:, -1:])


def lengths(points: Tensor) -> Tensor:
    """Of the polygons through the points of paths."""
    return points.diff(dim=1).norm(dim=2).sum(1)


@pytest.mark.parametrize("dimensions", [2, 3])
def test_a_walk_on_a_sphere_stays_there_and_is_a_great_circle(dimensions: int) -> None:
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(6, dimensions, generator=generator, dtype=torch.float64)
    x = x / x.norm(dim=1, keepdim=True)
    x[:, -1] = -x[:, -1].abs()  # away from the pole, which has no latent
    path = traverse(from_sphere, to_sphere, x, length=1.0, steps=10, unit="data")
    assert path.points.shape == (6, 21, dimensions)
    assert path.latents.shape == (6, 21, dimensions - 1)
    torch.testing.assert_close(path.points[:, 10], x)
    torch.testing.assert_close(path.points.norm(dim=2), torch.ones(6, 21).double())
    torch.testing.assert_close(
        lengths(path.points), torch.full((6,), 2.0).double(), rtol=5e-3, atol=0
    )
    # the ends of a great circle of this length are two radians apart
    cosine = (path.points[:, 0] * path.points[:, -1]).sum(1)
    torch.testing.assert_close(cosine, torch.full((6,), math.cos(2)).double(), rtol=0, atol=0.03)
    torch.testing.assert_close(path.offsets, torch.linspace(-1, 1, 21).double())


def test_lengths_in_standard_deviations_of_the_component() -> None:
    scales = torch.tensor([3.0, 0.5, 2.0])
    x = torch.tensor([[1.0, 2.0, 3.0]])
    pair = (lambda x: x / scales, lambda z: z * scales)
    path = traverse(*pair, x, component=1, steps=2, length=2.0)
    expected = torch.tensor([-4.0, -2.0, 0.0, 2.0, 4.0])
    torch.testing.assert_close(path.points[0, :, 2], 3 + expected)
    torch.testing.assert_close(path.points[0, :, :2], x[:, :2].expand(5, 2))
    by_data = traverse(*pair, x, component=1, steps=2, length=4.0, unit="data")
    torch.testing.assert_close(by_data.points, path.points)


def test_it_goes_on_in_its_direction_where_spectra_cross() -> None:
    """The first axis is widest up to z = 0, where cosh(2 - z) falls below cosh(2)."""

    def decode(z: Tensor) -> Tensor:
        return torch.stack([(z[:, 0] - 2).sinh(), math.cosh(2) * z[:, 1]], 1)

    def encode(x: Tensor) -> Tensor:
        return torch.stack([x[:, 0].asinh() + 2, x[:, 1] / math.cosh(2)], 1)

    x = decode(torch.tensor([[-0.6, 0.3]]))
    path = traverse(encode, decode, x, length=1.5, steps=6)
    torch.testing.assert_close(path.points[..., 1], x[:, 1:].expand(1, 13))
    ends = path.latents[0, [0, -1], 0].sort().values
    torch.testing.assert_close(ends, torch.tensor([-2.1, 0.9]), rtol=0, atol=1e-4)


def test_events_keep_their_shape() -> None:
    path = traverse(
        lambda x: x.flatten(1), lambda z: z.view(-1, 1, 2, 2), torch.ones(3, 1, 2, 2), steps=1
    )
    assert path.points.shape == (3, 3, 1, 2, 2)


@pytest.mark.parametrize(
    ("option", "message"),
    [
        ({"component": 2}, "component is 2; accepted are 0 to 1"),
        ({"steps": 0}, "steps is 0"),
        ({"length": -1.0}, "length -1"),
        ({"unit": "pixel"}, "unit is 'pixel'"),
    ],
)
def test_options_out_of_range_are_named(option: dict[str, object], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        traverse(lambda x: x, lambda z: z, torch.ones(1, 2), **option)
