"""Deformations of images against images that are deformed."""

import math

import pytest
import torch
from torch.nn import functional as F

from experiments.digits.deformations import deformations, share

ANGLE, STEP = 0.02, 0.02


@pytest.fixture
def ring():
    """A soft ellipse, off the center."""
    rows, columns = torch.meshgrid(*[torch.linspace(-1, 1, 48)] * 2, indexing="ij")
    radius = ((rows - 0.1).square() + 2 * (columns + 0.05).square()).sqrt()
    return torch.exp(-((radius - 0.5) / 0.2).square())[None, None]


@pytest.mark.parametrize(
    "matrix",
    [
        [[1, 0, STEP], [0, 1, 0]],
        [[1, 0, 0], [0, 1, STEP]],
        [[1 + STEP, 0, 0], [0, 1 + STEP, 0]],
        [[math.cos(ANGLE), -math.sin(ANGLE), 0], [math.sin(ANGLE), math.cos(ANGLE), 0]],
        [[1 + STEP, 0, 0], [0, 1 - STEP, 0]],
        [[1, STEP, 0], [STEP, 1, 0]],
    ],
)
def test_small_affine_maps_are_deformations(ring, matrix):
    grid = F.affine_grid(torch.tensor(matrix)[None].float(), ring.shape, align_corners=True)
    moved = F.grid_sample(ring, grid, mode="bicubic", align_corners=True) - ring
    assert share(moved[:, None], deformations(ring)).item() > 0.95


def test_what_is_no_deformation_is_not_counted(ring):
    seven = deformations(ring.expand(200, -1, -1, -1))
    noise = torch.randn(200, 3, 1, 48, 48, generator=torch.Generator().manual_seed(0))
    assert share(noise, seven).mean().item() == pytest.approx(7 / 48**2, rel=0.2)
    assert share(seven[:1].unflatten(2, (1, 48, 48)), seven[:1]).tolist()[0] == pytest.approx(
        [1.0] * 7
    )
