"""How much of a component image is a deformation of the image that it belongs to."""

import torch
from torch import Tensor
from torch.nn import functional as F

__all__ = ["deformations", "share"]


def deformations(x: Tensor) -> Tensor:
    """Derivatives of images along simple deformations.

    The seven of Simard et al. (1992): two shifts, size, rotation, two stretches, which are the six
    affine maps of the plane, and the thickness of strokes.

    Args:
        x: gray images, (batch, 1, height, width).

    Returns:
        (batch, 7, height · width).
    """
    down, right = torch.gradient(x[:, 0], dim=(1, 2))
    rows, columns = (torch.linspace(-1, 1, n, dtype=x.dtype) for n in x.shape[2:])
    affine = [
        gradient * where
        for gradient in (down, right)
        for where in (torch.ones_like(down[0]), rows[:, None], columns[None])
    ]
    thickness = down.square() + right.square()
    return torch.stack([*affine, thickness], 1).flatten(2)


def share(axes: Tensor, directions: Tensor) -> Tensor:
    """Squared length of each axis within the span of directions, as a share of the whole.

    Args:
        axes: (batch, k, *event).
        directions: (batch, m, D) for events of D entries.

    Returns:
        (batch, k), 0 to 1; m / D on average for axes that know nothing of the directions.
    """
    basis = torch.linalg.qr(directions.double().mT).Q
    flat = F.normalize(axes.double().flatten(2), dim=2)
    found: Tensor = (flat @ basis).square().sum(2)
    return found
