"""Coordinates of the unit sphere; its last entry is the height of a point between the poles."""

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from lightning_flows.core.errors import ShapeError
from lightning_flows.core.shapes import as_features
from lightning_flows.core.support import Interval, Sphere, Support, Torus, by_columns
from lightning_flows.transforms.base import Transform
from lightning_flows.transforms.manifolds.torus import NEAREST, direction

__all__ = ["CylinderChart", "SphereChart"]

QUARTER = Interval(0.0, math.pi / 2)


class SphereChart(Transform):
    """Spherical coordinates (θ₁, ..., θ_{n-1}, φ) of the unit sphere of any dimension n.

    x_{n+1} = cos θ₁, x_n = sin θ₁ cos θ₂, ..., (x₁, x₂) = (cos φ, sin φ) · ∏ sin θ_k, with θ in
    [0, π] and φ in [-π, π]. The volume is ∏ sin^{n-k} θ_k: coordinates of a density that is finite
    at the poles must vanish there. In three dimensions `CylinderChart` has no such places.

    Args:
        event_shape: n + 1, or (n + 1,).
        positive: only the part whose entries are from 0 up; all angles lie in [0, π/2] then.

    Raises:
        ShapeError: events are no vectors, or have fewer than two entries.
    """

    def __init__(self, event_shape: Sequence[int] | int, *, positive: bool = False) -> None:
        features = as_features(event_shape, "SphereChart")
        if features < 2:
            raise ShapeError(f"event_shape is {(features,)}; a sphere takes two entries or more.")
        angles: list[Support] = [Interval(0.0, math.pi)] * (features - 2)
        super().__init__(
            features,
            features - 1,
            domain=Sphere(features - 1, positive),
            codomain=QUARTER if positive else by_columns([*angles, Torus(1)]),
            volume_preserving=features == 2,
        )
        self.positive = positive

    def encode(self, x: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        radii = self._not_zero(x.square().cumsum(1)[:, 1:-1]).flip(1)  # ∏ sin θ up to each angle
        angles = torch.atan2(radii, x[:, 2:].flip(1))
        around = direction(x[:, 0], x[:, 1])
        return torch.cat([angles, around[:, None]], 1), -radii.log().sum(1)

    def decode(self, z: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        angles, around = z[:, :-1], z[:, -1:]
        radii = angles.sin().clamp(min=0).cumprod(1)
        before = torch.cat([torch.ones_like(around), radii], 1)
        heights = (before[:, :-1] * angles.cos()).flip(1)
        ring = before[:, -1:] * torch.cat([around.cos(), around.sin()], 1)
        x = torch.cat([ring, heights], 1)
        if self.positive:  # the cosine of π/2 is below 0 in single precision
            x = x.clamp(min=0)
        return x, -self._not_zero(radii.square()).log().sum(1)

    @staticmethod
    def _not_zero(squares: Tensor) -> Tensor:
        """Roots, at a pole a small number: finite, with finite slopes."""
        return squares.clamp(min=NEAREST**2).sqrt()


class CylinderChart(Transform):
    """Height and angle (z, φ) of the unit sphere in three dimensions.

    x = (√(1-z²) cos φ, √(1-z²) sin φ, z). The map keeps areas (Archimedes), so the contribution is
    0, and uniform on the cylinder is uniform on the sphere. A density is continuous at a pole where
    it does not depend on φ there. In single precision points at a pole come back to 4e-4.

    Args:
        event_shape: 3, or (3,).

    Raises:
        ShapeError: another shape.
    """

    def __init__(self, event_shape: Sequence[int] | int = 3) -> None:
        features = as_features(event_shape, "CylinderChart")
        if features != 3:
            raise ShapeError(
                f"event_shape is {(features,)}; CylinderChart takes (3,), and SphereChart any."
            )
        height = Interval(-1.0, 1.0)
        codomain = by_columns([height, Torus(1)])
        super().__init__(3, 2, domain=Sphere(2), codomain=codomain, volume_preserving=True)

    def encode(self, x: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        height = x[:, 2].clamp(-1, 1)
        return torch.stack([height, direction(x[:, 0], x[:, 1])], 1), x.new_zeros(len(x))

    def decode(self, z: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        height, around = z.unbind(1)
        square = (1 - height) * (1 + height)
        radius = square.clamp(min=NEAREST**2).sqrt()  # a slope at the poles
        x = torch.stack([radius * around.cos(), radius * around.sin(), height], 1)
        return x, z.new_zeros(len(z))
