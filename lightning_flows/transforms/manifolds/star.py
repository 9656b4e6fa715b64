"""Coordinates of hypersurfaces that every ray from the origin meets once."""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from lightning_flows.core.errors import ShapeError
from lightning_flows.core.hypersurfaces import Hypersurface
from lightning_flows.core.shapes import Shape, as_features
from lightning_flows.core.support import Sphere
from lightning_flows.transforms.base import Transform
from lightning_flows.transforms.manifolds.fields import (
    FieldFactory,
    LpRadius,
    field_of,
    log_with_one,
)
from lightning_flows.transforms.manifolds.sphere import SphereChart

__all__ = ["StarLike", "log_stretch"]


class StarLike(Transform):
    """Angles θ of a star-like hypersurface x = r(n) n, where n(θ) is a point of the unit sphere.

    Negri et al. 2024 (arXiv 2406.09116). With d entries, spherical coordinates have the orthogonal
    scale factors h_k = r ∏_{j<k} sin θ_j, so that the volume is known in closed form at a cost that
    grows as d,

        log √det JᵀJ = Σ log h_k + ½ log(1 + Σ (∂_k r)² / h_k²).

    The last sum is the squared length of the slope of log r along the sphere, and is computed as
    that, from one pass in reverse mode: no coordinates are needed, and nothing is divided by a
    sine. Encoding does not ask for the radius.

    Args:
        event_shape: d, or (d,).
        radius: makes the logarithm of r(n) from the shape of a direction: `LpRadius` with its
            options, `LearnedField`, or a `ScalarField` of one's own.
        chart: makes the coordinates of directions from their shape; `SphereChart` by default, and
            in three dimensions `CylinderChart` serves, whose poles have no zero volume.
        context_shape: shape of the context, for radii that take one.

    Raises:
        ShapeError: events are no vectors or have fewer than two entries, or `chart` is none of
            directions.
        ConfigError: `radius` is refused its options.
    """

    def __init__(
        self,
        event_shape: Sequence[int] | int,
        radius: FieldFactory = LpRadius,
        *,
        chart: Callable[[Shape], Transform] | None = None,
        context_shape: Sequence[int] | int | None = None,
    ) -> None:
        features = as_features(event_shape, "StarLike")
        if features < 2:
            raise ShapeError(
                f"event_shape is {(features,)}; a hypersurface takes two entries or more."
            )
        field = field_of(radius, features, context_shape)
        directions = Sphere(features - 1, field.positive)
        made = (
            SphereChart((features,), positive=field.positive)
            if chart is None
            else chart((features,))
        )
        if made.domain != directions:
            raise ShapeError(
                f"chart is {type(made).__name__}, which takes data in {made.domain}; directions "
                f"lie in {directions}."
            )
        super().__init__(
            features,
            made.latent_shape,
            context_shape=field.context_shape,
            domain=field.surface or Hypersurface(features - 1),
            codomain=made.codomain,
        )
        self.radius = field
        self.chart = made

    def encode(self, x: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        lengths = torch.linalg.vector_norm(x, dim=1, keepdim=True)
        n = x / lengths.clamp(min=torch.finfo(x.dtype).tiny)
        z, contribution = self.chart.encode(n)
        return z, contribution - log_stretch(n, *self.radius(n, context))

    def decode(self, z: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        n, contribution = self.chart.decode(z)
        log_radius, slope = self.radius(n, context)
        x = log_radius.exp()[:, None] * n
        return x, contribution - log_stretch(n, log_radius, slope)


def log_stretch(n: Tensor, log_radius: Tensor, slope: Tensor) -> Tensor:
    """Log of the volume of a star-like hypersurface per volume of the unit sphere, (batch,).

    Args:
        n: directions, (batch, d).
        log_radius: (batch,).
        slope: of the log-radius in all of space, (batch, d); what it has along n does not count.
    """
    along = slope - (slope * n).sum(1, keepdim=True) * n
    return (n.shape[1] - 1) * log_radius + log_with_one(along)
