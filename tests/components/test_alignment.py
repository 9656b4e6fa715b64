import math

import pytest
import torch
from torch import Tensor

from lightning_flows.components import Components, align, components
from lightning_flows.components.alignment import neighbor_edges
from lightning_flows.core.errors import ConfigError


def to_polar(x: Tensor) -> Tensor:
    return torch.stack([(x.norm(dim=1) - 2) / 0.3, torch.atan2(x[:, 1], x[:, 0]) / 0.05], 1)


def from_polar(z: Tensor) -> Tensor:
    """A ring: the widest axis is radial, the other one tangential."""
    radius, angle = 2 + 0.3 * z[:, 0], 0.05 * z[:, 1]
    return radius[:, None] * torch.stack([angle.cos(), angle.sin()], 1)


def ring(n: int = 200) -> Tensor:
    generator = torch.Generator().manual_seed(0)
    angle = torch.linspace(-math.pi, math.pi, n, dtype=torch.float64)
    radius = 2 + 0.2 * torch.rand(n, generator=generator, dtype=torch.float64)
    return radius[:, None] * torch.stack([angle.cos(), angle.sin()], 1)


def wobble(z: Tensor) -> Tensor:
    """Nearly the identity, so that no axis is singled out, and none of them stays."""
    mixing = torch.tensor([[3.0, 1.0, -2.0], [1.0, -3.0, 2.0], [2.0, 2.0, 1.0]], dtype=z.dtype)
    return z + 0.01 * (z @ mixing).sin()


def steps_between(found: Components, index: int) -> Tensor:
    """Cosines of one axis between neighbors."""
    edges = neighbor_edges(found.points, 3, torch.ones(len(found.points), dtype=torch.bool))
    axes = found.axes[:, index]
    return (axes[edges[:, 0]] * axes[edges[:, 1]]).sum(1)


def test_signs_become_continuous_around_a_ring() -> None:
    x = ring()
    found = components(to_polar, from_polar, x)
    outward = (found.axes[:, 0] * x).sum(1).sign()
    assert outward.unique().numel() == 2  # without alignment some point in, some out
    aligned = align(found)
    for index in range(2):
        assert steps_between(aligned.components, index).min() > 0.95
    outward = (aligned.components.axes[:, 0] * x).sum(1).sign()
    assert outward.unique().numel() == 1
    assert not aligned.crossings.any()
    assert torch.equal(aligned.groups, torch.tensor([0, 1]).expand(200, 2))
    # what belongs together is turned together
    pushed = torch.func.vmap(torch.func.jacrev(lambda z: from_polar(z[None])[0]))(found.latents)
    images = aligned.components.directions @ pushed.mT
    torch.testing.assert_close(
        images, aligned.components.axes * aligned.components.scales[..., None]
    )


def test_degenerate_axes_become_continuous_by_rotation() -> None:
    generator = torch.Generator().manual_seed(0)
    x = torch.rand(150, 3, generator=generator, dtype=torch.float64)
    found = components(lambda x: x, wobble, x)
    assert min(float(steps_between(found, i).abs().min()) for i in range(3)) < 0.5
    aligned = align(found, gap=0.2)
    assert (aligned.groups == 0).all()
    for index in range(3):
        assert steps_between(aligned.components, index).min() > 0.999
    identity = aligned.rotations @ aligned.rotations.mT
    torch.testing.assert_close(identity, torch.eye(3).double().expand(150, 3, 3))
    # variances are those along the rotated axes: uᵀ J Jᵀ u
    matrices = torch.func.vmap(torch.func.jacrev(lambda z: wobble(z[None])[0]))(x)
    along = torch.einsum("bkd,bde->bke", aligned.components.axes, matrices).square().sum(2)
    torch.testing.assert_close(aligned.components.scales.square(), along)
    torch.testing.assert_close(
        aligned.components.scales.square().sum(1), found.scales.square().sum(1)
    )


def test_crossings_are_where_scales_are_nearly_equal() -> None:
    z = torch.linspace(-2, 2, 41, dtype=torch.float64)
    x = torch.stack([z.sinh(), torch.zeros_like(z), torch.zeros_like(z)], 1)
    widths = torch.tensor([2.0, 0.5], dtype=torch.float64)
    found = components(
        lambda x: torch.cat([x[:, :1].asinh(), x[:, 1:] / widths], 1),
        lambda z: torch.cat([z[:, :1].sinh(), z[:, 1:] * widths], 1),
        x,
    )
    aligned = align(found, gap=0.1, neighbors=2)
    wide, narrow = z.cosh().clamp_min(2), z.cosh().clamp_max(2)
    torch.testing.assert_close(aligned.crossings[:, 0], wide - narrow <= 0.1 * wide)
    assert 0 < aligned.crossings[:, 0].sum() < 10
    assert not aligned.crossings[:, 1].any()
    assert torch.equal(aligned.groups[:, 1] == 0, aligned.crossings[:, 0])


def test_points_without_components_and_single_points() -> None:
    x = ring(20)
    found = components(lambda x: torch.where(x[:, :1] > 1.9, torch.nan, to_polar(x)), from_polar, x)
    bad = found.scales.isnan().any(1)
    assert 0 < bad.sum() < 10
    aligned = align(found)
    assert torch.equal(aligned.components.axes.isnan().flatten(1).any(1), bad)
    assert torch.equal(aligned.components.error.isnan().any(1), bad)
    assert not aligned.crossings.any()
    one = components(to_polar, from_polar, x[5:6])
    torch.testing.assert_close(align(one).components.axes, one.axes)


@pytest.mark.parametrize(
    ("option", "message"), [({"gap": 1.0}, "gap is 1"), ({"neighbors": 0}, "neighbors is 0")]
)
def test_options_out_of_range_are_named(option: dict[str, float], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        align(components(to_polar, from_polar, ring(5)), **option)
