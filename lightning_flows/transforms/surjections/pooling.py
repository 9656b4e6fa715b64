"""Surjections that keep the largest of several entries."""

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from lightning_flows.bases.base import Density
from lightning_flows.bases.given import DensityFactory, DensityGiven
from lightning_flows.bases.positive import HalfNormal
from lightning_flows.core.errors import ConfigError
from lightning_flows.core.noise import uniform_noise
from lightning_flows.core.shapes import as_shape, size
from lightning_flows.core.support import POSITIVE, Levels
from lightning_flows.transforms.base import Transform
from lightning_flows.transforms.bijections.reshape import Reshape, Squeeze
from lightning_flows.transforms.chain import Chain

__all__ = ["Max", "MaxPool2d"]


class Max(Transform):
    """z = the largest of the n entries along one dimension.

    An inference surjection, exact where no two entries are equal: dequantize first. `decode`
    draws the place k of the largest entry and by how much r the others stay below it. The
    contribution is log p(k | z) + log p(r | z); the map from the others to r has determinant ±1.
    `Inverse(Max(...))` is the generative direction.

    Args:
        event_shape: shape of one data point.
        dim: dimension of the event over which the largest entry is taken; the latent lacks it.
            The latent of a vector has shape (1,).
        place_density: probabilities of the place given z, or a factory of them: `Categorical`
            learns them; all places alike by default.
        density: that of the n - 1 differences from z, in the order of the entries and with
            dimension `dim`, or a factory, on numbers from zero up; `HalfNormal` by default.
        context_shape: shape of what the densities depend on besides.

    Raises:
        ConfigError: the event has no dimension `dim`, or one entry only along it.
    """

    def __init__(
        self,
        event_shape: Sequence[int] | int,
        *,
        dim: int = 0,
        place_density: Density | DensityFactory | None = None,
        density: Density | DensityFactory | None = None,
        context_shape: Sequence[int] | int | None = None,
    ) -> None:
        shape = as_shape(event_shape)
        if not 0 <= dim < len(shape) or shape[dim] < 2:
            raise ConfigError(
                f"dim is {dim}; Max takes the largest of two entries or more, and events have "
                f"shape {shape}."
            )
        latent_shape = (*shape[:dim], *shape[dim + 1 :]) or (1,)
        super().__init__(
            shape, latent_shape, context_shape=context_shape, kind="inference surjection"
        )
        self.dim = dim
        self.n = shape[dim]
        self.place_density: DensityGiven | None = None
        if place_density is not None:
            self.place_density = DensityGiven(
                place_density,
                latent_shape,
                latent_shape,
                self.context_shape,
                support=Levels(0, self.n),
                classes=self.n,
            )
        self.density = DensityGiven(
            density or HalfNormal,
            (*shape[:dim], self.n - 1, *shape[dim + 1 :]),
            latent_shape,
            self.context_shape,
            support=POSITIVE,
        )

    def encode(self, x: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        largest, place = x.max(self.dim + 1, keepdim=True)
        rest = x.gather(self.dim + 1, self._others(place))
        z = largest.reshape(-1, *self.latent_shape)
        log_p = self.density.score(largest - rest, z, context)
        return z, log_p + self._score(place.reshape(z.shape).to(x.dtype), z, context)

    def decode(self, z: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        if self.place_density is None:
            place = (self.n * uniform_noise(z.shape, z)).floor().clamp(max=self.n - 1)
        else:
            place, _ = self.place_density.draw(z, context)
        gap, log_p = self.density.draw(z, context)
        log_p = log_p + self._score(place, z, context)
        one = tuple(1 if i == self.dim else n for i, n in enumerate(self.event_shape))
        largest, place = z.reshape(-1, *one), place.long().reshape(-1, *one)
        values = torch.cat([largest - gap, largest], self.dim + 1)
        order = torch.cat([self._others(place), place], self.dim + 1)
        return values.gather(self.dim + 1, order.argsort(self.dim + 1)), log_p

    def _score(self, place: Tensor, z: Tensor, context: Tensor | None) -> Tensor:
        if self.place_density is None:
            return z.new_full((len(z),), -size(self.latent_shape) * math.log(self.n))
        return self.place_density.score(place, z, context)

    def _others(self, place: Tensor) -> Tensor:
        """Indices of all entries but the largest, in ascending order."""
        steps = torch.arange(self.n - 1, device=place.device)
        steps = steps.reshape(-1, *[1] * (len(self.event_shape) - self.dim - 1))
        return steps + (steps >= place).long()


class MaxPool2d(Chain):
    """The largest of each window of pixels, windows side by side (Nielsen et al. 2020).

    An inference surjection: `Max` over the windows that `Squeeze` makes.

    Args:
        event_shape: (channels, height, width).
        factor: side of a window; must divide height and width.
        place_density: as for `Max`, for a latent (channels, height / factor, width / factor).
        density: as for `Max`, with events (channels, factor² - 1, height / factor, width / factor).
        context_shape: shape of what the densities depend on.
    """

    def __init__(
        self,
        event_shape: Sequence[int] | int,
        factor: int = 2,
        *,
        place_density: Density | DensityFactory | None = None,
        density: Density | DensityFactory | None = None,
        context_shape: Sequence[int] | int | None = None,
    ) -> None:
        squeeze = Squeeze(event_shape, factor)
        channels = squeeze.event_shape[0]
        windows = (channels, factor**2, *squeeze.latent_shape[1:])
        pool = Max(
            windows,
            dim=1,
            place_density=place_density,
            density=density,
            context_shape=context_shape,
        )
        super().__init__([squeeze, Reshape(squeeze.latent_shape, windows), pool])
