import math
from dataclasses import replace

import pytest
import torch
from torch import Tensor

from lightning_flows.components import Components, agreement, components, neighbor_agreement
from lightning_flows.core.errors import ShapeError

X = torch.randn(40, 4, generator=torch.Generator().manual_seed(0), dtype=torch.float64)


def linear(scales: list[float], turn: float = 0.0, k: int | None = None) -> Components:
    """Components along the coordinates, the first two turned by an angle."""
    width = torch.tensor(scales, dtype=torch.float64)
    rotation = torch.eye(4, dtype=torch.float64)
    rotation[:2, :2] = torch.tensor(
        [[math.cos(turn), -math.sin(turn)], [math.sin(turn), math.cos(turn)]], dtype=torch.float64
    )
    return components(lambda x: x @ rotation / width, lambda z: (z * width) @ rotation.T, X, k=k)


def test_the_same_components_agree_wholly() -> None:
    found = linear([4, 3, 2, 1])
    flipped = replace(found, axes=-found.axes)
    result = agreement(found, flipped)
    torch.testing.assert_close(result.axes, torch.ones(40).double())
    torch.testing.assert_close(result.subspace, torch.ones(40).double())
    assert torch.equal(result.matches, torch.arange(4).expand(40, 4))


def test_a_rotation_within_the_space_changes_axes_and_not_the_space() -> None:
    turn = 0.4
    first, second = linear([4, 3, 2, 1], k=2), linear([4, 3, 2, 1], turn, k=2)
    result = agreement(first, second)
    torch.testing.assert_close(result.axes, torch.full((40,), math.cos(turn)).double())
    assert result.angles.max() < 1e-6
    one = agreement(linear([4, 3, 2, 1], k=1), linear([4, 3, 2, 1], turn, k=1))
    torch.testing.assert_close(one.angles, torch.full((40, 1), turn).double())
    torch.testing.assert_close(one.subspace, torch.full((40,), math.cos(turn) ** 2).double())


@pytest.mark.parametrize(
    ("dtype", "turn", "error"),
    [(torch.float64, 1e-9, 1e-15), (torch.float64, 0.3, 1e-12), (torch.float32, 1e-5, 3e-7)],
)
def test_small_angles_are_not_lost_in_their_cosines(
    dtype: torch.dtype, turn: float, error: float
) -> None:
    first, second = linear([4, 3, 2, 1], k=1), linear([4, 3, 2, 1], turn, k=1)
    first, second = (replace(part, axes=part.axes.to(dtype)) for part in (first, second))
    found = agreement(first, second).angles
    torch.testing.assert_close(
        found, torch.full((40, 1), turn, dtype=torch.float64), rtol=0, atol=error
    )
    same = agreement(linear([4, 3, 2, 1]), linear([4, 3, 2, 1]))
    assert same.angles.max() < 1e-14
    assert neighbor_agreement(linear([4, 3, 2, 1]))[0].angles.max() < 1e-14
    assert same.cosines.max() <= 1


def test_spectra_that_cross_are_matched() -> None:
    first, second = linear([4, 3, 2, 1]), linear([3, 4, 1, 2])
    result = agreement(first, second)
    assert torch.equal(result.matches, torch.tensor([1, 0, 3, 2]).expand(40, 4))
    torch.testing.assert_close(result.axes, torch.ones(40).double())
    assert agreement(first, second, match=False).axes.max() < 1e-9


def test_random_directions_hardly_agree() -> None:
    generator = torch.Generator().manual_seed(1)
    x = torch.randn(50, 100, generator=generator)

    def found() -> Components:
        matrix = torch.randn(100, 100, generator=generator)
        return components(lambda x: x, lambda z: z @ matrix, x, k=1, method="full")

    result = agreement(found(), found())
    assert result.axes.max() < 0.4


def bent(z: Tensor) -> Tensor:
    """A ring: axes turn with the place."""
    radius, angle = 2 + 0.3 * z[:, 0], 0.05 * z[:, 1]
    return radius[:, None] * torch.stack([angle.cos(), angle.sin()], 1)


def test_neighbors_on_a_ring_agree_as_the_angle_between_them_says() -> None:
    n = 60
    z = torch.stack([torch.zeros(n), torch.arange(n) * 2 * math.pi / n / 0.05], 1).double()
    found = components(lambda x: z, bent, bent(z))
    result, edges = neighbor_agreement(found, neighbors=2)
    assert edges.shape == (n, 2)
    expected = torch.full((n, 2), math.cos(2 * math.pi / n)).double()
    torch.testing.assert_close(result.cosines, expected)
    assert neighbor_agreement(found, neighbors=20)[0].axes.mean() < result.axes.mean()


def test_points_without_components_are_marked() -> None:
    found = linear([4, 3, 2, 1])
    axes = found.axes.clone()
    axes[3] = torch.nan
    result = agreement(found, replace(found, axes=axes))
    assert result.axes.isnan().nonzero().tolist() == [[3]]
    assert (result.matches[3] == -1).all()
    with pytest.raises(ShapeError, match=r"\(40, 4, 4\) and \(40, 2, 4\)"):
        agreement(found, linear([4, 3, 2, 1], k=2))
