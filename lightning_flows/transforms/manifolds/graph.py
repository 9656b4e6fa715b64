"""Coordinates of hypersurfaces that every vertical line meets once."""

from collections.abc import Sequence

import torch
from torch import Tensor

from lightning_flows.core.errors import ShapeError
from lightning_flows.core.hypersurfaces import Hypersurface
from lightning_flows.core.shapes import as_features
from lightning_flows.transforms.base import Transform
from lightning_flows.transforms.manifolds.fields import (
    FieldFactory,
    LearnedField,
    field_of,
    log_with_one,
)

__all__ = ["Graph"]


class Graph(Transform):
    """All but the last entry of points (u, ρ(u)) on the graph of a height ρ.

    The volume is √(1 + ‖∇ρ(u)‖²) (Negri et al. 2024, arXiv 2406.09116, with the identity for A).
    Encoding does not ask for the height.

    Args:
        event_shape: d, or (d,).
        height: makes ρ from the shape of u, (d - 1,): `LearnedField`, or a `ScalarField` of one's
            own.
        context_shape: shape of the context, for heights that take one.

    Raises:
        ShapeError: events are no vectors, or have fewer than two entries.
        ConfigError: `height` is refused its options.
    """

    def __init__(
        self,
        event_shape: Sequence[int] | int,
        height: FieldFactory = LearnedField,
        *,
        context_shape: Sequence[int] | int | None = None,
    ) -> None:
        features = as_features(event_shape, "Graph")
        if features < 2:
            raise ShapeError(
                f"event_shape is {(features,)}; a hypersurface takes two entries or more."
            )
        field = field_of(height, features - 1, context_shape)
        super().__init__(
            features,
            features - 1,
            context_shape=field.context_shape,
            domain=field.surface or Hypersurface(features - 1),
        )
        self.height = field

    def encode(self, x: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        u = x[:, :-1]
        return u, -log_with_one(self.height(u, context)[1])

    def decode(self, z: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        height, slope = self.height(z, context)
        return torch.cat([z, height[:, None]], 1), -log_with_one(slope)
