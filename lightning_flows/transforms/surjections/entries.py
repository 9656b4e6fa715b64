"""Surjections of every entry by itself, and transforms of some entries only."""

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from lightning_flows.bases.base import Density
from lightning_flows.bases.conditional import Parametrized
from lightning_flows.bases.given import DensityFactory, DensityGiven
from lightning_flows.bases.positive import HalfNormal
from lightning_flows.core.errors import ConfigError, ShapeError
from lightning_flows.core.noise import Reproducible, uniform_noise
from lightning_flows.core.shapes import as_shape, join, joined_shape, size, sum_event
from lightning_flows.core.support import (
    POSITIVE,
    REAL,
    RECTIFIED,
    Columns,
    Levels,
    Support,
    by_columns,
)
from lightning_flows.transforms.base import Transform

__all__ = ["Abs", "OnEntries", "ReLU"]


class Abs(Transform):
    """z = |x|, for data with sign symmetry.

    An inference surjection, exact where what follows lives on positive numbers: put
    `Inverse(Softplus(...))` before layers for all reals. The contribution is log p(s | z) with
    signs s that `decode` draws; -D log 2 for signs of probability ½. `Inverse(Abs(...))` is the
    generative direction: it gives positive data random signs. For some entries only, see
    `OnEntries`.

    Args:
        event_shape: shape of one data point.
        density: probability that an entry is negative (1) or not (0) given z, or a factory of it:
            `Bernoulli` learns it; ½ by default.
        context_shape: shape of what the signs depend on besides.
    """

    def __init__(
        self,
        event_shape: Sequence[int] | int,
        *,
        density: Density | DensityFactory | None = None,
        context_shape: Sequence[int] | int | None = None,
    ) -> None:
        super().__init__(
            event_shape, context_shape=context_shape, kind="inference surjection", codomain=POSITIVE
        )
        self.density: DensityGiven | None = None
        if density is not None:
            self.density = DensityGiven(
                density,
                self.event_shape,
                self.event_shape,
                self.context_shape,
                support=Levels(0, 2),
                classes=2,
            )

    def encode(self, x: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        z = x.abs()
        if self.density is None:
            return z, self._log_half(x)
        return z, self.density.score((x < 0).to(x.dtype), z, context)

    def decode(self, z: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        if self.density is None:
            negative, log_p = uniform_noise(z.shape, z) < 0.5, self._log_half(z)
        else:
            sign, log_p = self.density.draw(z, context)
            negative = sign > 0.5
        return torch.where(negative, -z, z), log_p

    def _log_half(self, x: Tensor) -> Tensor:
        return x.new_full((len(x),), -size(self.event_shape) * math.log(2))


class ReLU(Transform):
    """z = max(x, 0).

    An inference surjection: where z is zero, `decode` draws x < 0, and the contribution is the
    summed log-density of those entries. The output holds exact zeros, so what follows must give
    zero a probability: `ZeroInflated` does. `Inverse(ReLU(...))` is the generative direction, for
    data with exact zeros: each becomes a random negative number, and what follows may live on
    all reals.

    Args:
        event_shape: shape of one data point.
        density: that of -x given z, used where x is below zero, or a factory. Its entries
            are independent given z; `HalfNormal` by default.
        context_shape: shape of what the density depends on besides.

    Raises:
        ConfigError: the density has entries that depend on each other.
    """

    def __init__(
        self,
        event_shape: Sequence[int] | int,
        *,
        density: Density | DensityFactory | None = None,
        context_shape: Sequence[int] | int | None = None,
    ) -> None:
        super().__init__(
            event_shape,
            context_shape=context_shape,
            kind="inference surjection",
            codomain=RECTIFIED,
        )
        self.density = DensityGiven(
            density or HalfNormal,
            self.event_shape,
            self.event_shape,
            self.context_shape,
            support=POSITIVE,
        )
        if not isinstance(self.density.density, Parametrized):
            raise ConfigError(
                f"{type(self.density.density).__name__} scores whole events; ReLU needs a density "
                "of independent entries, such as HalfNormal."
            )

    def encode(self, x: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        z = torch.relu(x)
        return z, self._score(z, torch.relu(-x), context)

    def decode(self, z: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        below, _ = self.density.draw(z, context)
        return torch.where(z > 0, z, -below), self._score(z, below, context)

    def _score(self, z: Tensor, below: Tensor, context: Tensor | None) -> Tensor:
        return sum_event(torch.where(z > 0, 0, self.density.score_each(below, z, context)))


class OnEntries(Transform):
    """Applies a transform to some entries of the first dimension and leaves the others alone.

    Where the transform takes context, it sees the untouched entries (and context, joined), as in
    a coupling layer. The sign of one column given the others:

        OnEntries(5, [0], Chain([Abs(1, density=Bernoulli, context_shape=4), Inverse(Softplus(1))]))

    Where the transform makes more entries or fewer, they come after the untouched ones. Columns of
    a table that hold categories, beside real ones:

        OnEntries(5, [1, 3], Argmax([4, 3], context_shape=3))

    Args:
        event_shape: shape of one data point.
        entries: which entries of the first dimension the transform maps, in this order.
        transform: maps events of as many entries to events that differ in the first dimension at
            most. It leads from a set into itself, or from integers to the set that the other
            entries lie in.
        context_shape: shape of what the transform is conditioned on besides.

    Raises:
        ConfigError: an entry that does not exist, or one named twice.
        ShapeError: the transform has another shape or context_shape, or leads to another set.
    """

    order: Tensor
    back: Tensor

    def __init__(
        self,
        event_shape: Sequence[int] | int,
        entries: Sequence[int],
        transform: Transform,
        *,
        context_shape: Sequence[int] | int | None = None,
    ) -> None:
        features, *rest = as_shape(event_shape)
        entries = list(entries)
        if not entries or len({*entries}) < len(entries) or not {*entries} <= {*range(features)}:
            raise ConfigError(
                f"entries is {entries}; accepted are different integers from 0 to {features - 1}."
            )
        chosen = (len(entries), *rest)
        if transform.event_shape != chosen or list(transform.latent_shape[1:]) != rest:
            raise ShapeError(
                f"{type(transform).__name__} maps {transform.event_shape} to "
                f"{transform.latent_shape}; OnEntries needs a map of {chosen} that changes the "
                "first dimension at most."
            )
        domain = transform.domain
        sets = _sets(domain, len(entries))
        integers = all(isinstance(support, Levels) for support in sets)
        if domain != transform.codomain and not integers:
            raise ShapeError(
                f"{type(transform).__name__} leads from {transform.domain} to "
                f"{transform.codomain}, which other entries do not; chain it with a bijection that "
                "leads back."
            )
        if domain != transform.codomain:
            of_entry = dict(zip(entries, sets, strict=True))
            codomain = transform.codomain or REAL
            domain = by_columns([of_entry.get(i) or codomain for i in range(features)])
        others = [i for i in range(features) if i not in entries]
        grown = len(others) + transform.latent_shape[0]
        super().__init__(
            (features, *rest),
            (grown, *rest),
            context_shape=context_shape,
            kind=transform.kind,
            domain=domain,
            codomain=transform.codomain,
        )
        seen = joined_shape((len(others), *rest), self.context_shape)
        if transform.context_shape not in (None, seen):
            raise ShapeError(
                f"{type(transform).__name__} has context_shape {transform.context_shape}; the "
                f"entries that it leaves alone, with context, make {seen}."
            )
        self.transform = transform
        self.sizes = [len(others), len(entries)]
        self.latent_sizes = [len(others), transform.latent_shape[0]]
        self.register_buffer("order", torch.tensor([*others, *entries]))
        self.register_buffer("back", torch.argsort(self.order))

    def encode(self, x: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        others, chosen = x.index_select(1, self.order).split(self.sizes, 1)
        with Reproducible(x, not (self.training or self.exact)):
            chosen, contribution = self.transform(chosen, self._seen(others, context))
        z = torch.cat([others, chosen], 1)
        return z.index_select(1, self.back) if self._in_place else z, contribution

    def decode(self, z: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        z = z.index_select(1, self.order) if self._in_place else z
        others, chosen = z.split(self.latent_sizes, 1)
        chosen, contribution = self.transform.decode(chosen, self._seen(others, context))
        return torch.cat([others, chosen], 1).index_select(1, self.back), contribution

    @property
    def _in_place(self) -> bool:
        return self.sizes == self.latent_sizes

    def _seen(self, others: Tensor, context: Tensor | None) -> Tensor | None:
        if self.transform.context_shape is None:
            return None
        return join(others, None if self.context_shape is None else context)


def _sets(domain: Support | None, entries: int) -> list[Support]:
    """The set of each entry."""
    if domain is None:
        return []
    return [*domain.sets] if isinstance(domain, Columns) else [domain] * entries
