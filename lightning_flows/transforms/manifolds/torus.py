"""The torus as a product of circles in the plane."""

from collections.abc import Sequence

import torch
from torch import Tensor

from lightning_flows.core.errors import ShapeError
from lightning_flows.core.shapes import as_features
from lightning_flows.core.support import Circles, Torus
from lightning_flows.transforms.base import Transform

__all__ = ["NEAREST", "TorusChart", "direction"]

NEAREST = 1e-7  # to a pole: closer points have no direction, in any precision


class TorusChart(Transform):
    """Angles of points on unit circles: (cos φ₁, sin φ₁, cos φ₂, ...) to (φ₁, φ₂, ...).

    Lengths along the circles are angles, so the contribution is 0.

    Args:
        event_shape: the number of entries, two for each angle, or (entries,).

    Raises:
        ShapeError: events are no vectors, or of an odd number of entries.
    """

    def __init__(self, event_shape: Sequence[int] | int) -> None:
        features = as_features(event_shape, "TorusChart")
        if features % 2:
            raise ShapeError(
                f"event_shape is {(features,)}; TorusChart takes a cosine and a sine of each angle."
            )
        n = features // 2
        super().__init__(features, n, domain=Circles(n), codomain=Torus(n), volume_preserving=True)

    def encode(self, x: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        across, up = x.unflatten(1, (-1, 2)).unbind(2)
        return torch.atan2(up, across), x.new_zeros(len(x))

    def decode(self, z: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        return torch.stack([z.cos(), z.sin()], 2).flatten(1), z.new_zeros(len(z))


def direction(across: Tensor, up: Tensor) -> Tensor:
    """The angle of a vector of any length; 0 where that is nearly 0."""
    none = (across.abs() < NEAREST) & (up.abs() < NEAREST)
    return torch.atan2(torch.where(none, 0.0, up), torch.where(none, 1.0, across))
