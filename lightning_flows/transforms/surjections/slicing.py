"""Fewer or more entries: drop some and score them, or add some and score those."""

from collections.abc import Sequence

import torch
from torch import Tensor

from lightning_flows.bases.base import Density
from lightning_flows.bases.conditional import ConditionalNormal
from lightning_flows.bases.given import DensityFactory, DensityGiven
from lightning_flows.core.errors import ConfigError, check_least
from lightning_flows.core.shapes import as_shape
from lightning_flows.transforms.base import Inverse, Transform

__all__ = ["Augment", "Slice"]


class Slice(Transform):
    """Keeps the first entries and drops the rest: z = x₁ of x = (x₁, x₂).

    An inference surjection, exact. The contribution is +log p(x₂ | z), `decode` draws x₂. The
    multi-scale architecture of RealNVP is a Slice with `density=Normal`.

    Args:
        event_shape: shape of one data point.
        keep: how many entries of dimension `dim` are kept.
        dim: dimension of the event that is cut.
        density: density of what is dropped given what is kept, or a factory; a
            `ConditionalNormal` by default. Its support is where the data must lie.
        context_shape: shape of what the density depends on besides.

    Raises:
        ConfigError: `keep` or `dim` does not fit the event.
    """

    def __init__(
        self,
        event_shape: Sequence[int] | int,
        keep: int,
        *,
        dim: int = 0,
        density: Density | DensityFactory | None = None,
        context_shape: Sequence[int] | int | None = None,
    ) -> None:
        shape = as_shape(event_shape)
        if not 0 <= dim < len(shape):
            raise ConfigError(f"dim is {dim}; events of shape {shape} have 0 to {len(shape) - 1}.")
        if not 0 < keep < shape[dim]:
            raise ConfigError(
                f"keep is {keep}; accepted are 1 to {shape[dim] - 1}, as dimension {dim} of the "
                f"event has {shape[dim]} entries."
            )
        kept, dropped = ((*shape[:dim], n, *shape[dim + 1 :]) for n in (keep, shape[dim] - keep))
        super().__init__(shape, kept, context_shape=context_shape, kind="inference surjection")
        self.dropped = DensityGiven(
            density or ConditionalNormal,
            dropped,
            kept,
            self.context_shape,
            support=None,
        )
        self.domain = self.codomain = self.dropped.density.support
        self.dim = dim
        self.sizes = [keep, shape[dim] - keep]

    def encode(self, x: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        kept, dropped = x.split(self.sizes, self.dim + 1)
        return kept, self.dropped.score(dropped, kept, context)

    def decode(self, z: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        dropped, log_p = self.dropped.draw(z, context)
        return torch.cat([z, dropped], self.dim + 1), log_p


class Augment(Inverse):
    """Appends noise: z = (x, u) with u ~ q(u | x) (Huang et al. 2020; Chen et al. 2020).

    A generative surjection, so the likelihood is a lower bound. The contribution is -log q(u | x),
    `decode` drops u. The bound can only be tight where the noise reaches all that the layers after
    it can make of u: bounded noise before a normal base never closes the gap.

    Args:
        event_shape: shape of one data point.
        add: how many entries of dimension `dim` are added.
        dim: dimension of the event that grows.
        density: density of what is added given the data, or a factory; a
            `ConditionalNormal` by default. Its support is where the data must lie.
        context_shape: shape of what the density depends on besides.

    Raises:
        ConfigError: `add` or `dim` does not fit the event.
    """

    def __init__(
        self,
        event_shape: Sequence[int] | int,
        add: int,
        *,
        dim: int = 0,
        density: Density | DensityFactory | None = None,
        context_shape: Sequence[int] | int | None = None,
    ) -> None:
        shape = as_shape(event_shape)
        check_least(1, add=add)
        if not 0 <= dim < len(shape):
            raise ConfigError(f"dim is {dim}; events of shape {shape} have 0 to {len(shape) - 1}.")
        wide = (*shape[:dim], shape[dim] + add, *shape[dim + 1 :])
        super().__init__(
            Slice(wide, shape[dim], dim=dim, density=density, context_shape=context_shape)
        )
