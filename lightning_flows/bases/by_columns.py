"""Independent columns, each with a density of its own."""

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from lightning_flows.bases.base import Density
from lightning_flows.bases.circular import UniformTorus
from lightning_flows.bases.normal import Normal, is_standard_normal
from lightning_flows.bases.uniform import Uniform
from lightning_flows.core.errors import ShapeError
from lightning_flows.core.shapes import as_features
from lightning_flows.core.support import Columns, Interval, Support, Torus, by_columns

__all__ = ["ByColumns", "is_simplest", "simplest_on"]


class ByColumns(Density):
    """A product of densities: the first scores the first entries of an event, and so on.

    Args:
        event_shape: shape of one point; parts have all its dimensions but the first in common.
        parts: densities of the pieces of the first dimension, in order.

    Raises:
        ShapeError: the parts do not make up the event, or depend on context.
    """

    def __init__(self, event_shape: Sequence[int] | int, parts: Sequence[Density]) -> None:
        super().__init__(event_shape, support=_together(parts))
        sizes = [part.event_shape[0] for part in parts]
        rests = {part.event_shape[1:] for part in parts}
        if sum(sizes) != self.event_shape[0] or rests != {self.event_shape[1:]}:
            shapes = ", ".join(str(part.event_shape) for part in parts)
            raise ShapeError(f"event_shape is {self.event_shape}; the parts score {shapes}.")
        if any(part.context_shape is not None for part in parts):
            raise ShapeError("ByColumns takes densities without context; one of them has some.")
        self.parts = nn.ModuleList(parts)
        self.sizes = sizes

    @property
    def reparametrized(self) -> bool:
        return all(part.reparametrized for part in self._densities)

    def log_prob(self, x: Tensor, context: Tensor | None = None) -> Tensor:
        pieces = zip(self.parts, x.split(self.sizes, 1), strict=True)
        return torch.stack([part(piece) for part, piece in pieces]).sum(0)

    def draw(self, n: int, context: Tensor | None = None, temperature: float = 1.0) -> Tensor:
        return torch.cat([part.draw(n, None, temperature) for part in self._densities], 1)

    @property
    def _densities(self) -> Sequence[Density]:
        return list(self.parts)  # type: ignore[arg-type] # densities all


def _together(parts: Sequence[Density]) -> Support:
    sets: list[Support] = []
    for part in parts:
        own, columns = part.support, part.event_shape[0]
        if isinstance(own, Columns):
            sets += own.sets
        else:
            sets += [Torus(1) if isinstance(own, Torus) else own] * columns
    return by_columns(sets)


def simplest_on(support: Support, event_shape: Sequence[int] | int) -> Density:
    """The density that a flow on a set has at its base by default.

    Args:
        support: angles, an interval, all reals, or `Columns` of those.
        event_shape: (features,).

    Returns:
        Uniform on angles and on intervals with two ends, standard normal on all reals.

    Raises:
        ShapeError: another set.
    """
    features = as_features(event_shape, "a flow on columns")
    if isinstance(support, Columns):
        return ByColumns(features, [simplest_on(each, 1) for each in support.sets])
    if isinstance(support, Torus):
        return UniformTorus(features)
    if isinstance(support, Interval) and not support.atom:
        if math.isfinite(support.low + support.high):
            return Uniform(features, low=support.low, high=support.high)
        if math.isinf(support.low) and math.isinf(support.high):
            return Normal(features)
    raise ShapeError(
        f"There is no base on {support} by default; give one with base, or lead there by a "
        "transform."
    )


def is_simplest(density: Density) -> bool:
    """Whether a density is one that a flow has at its base by default."""
    if isinstance(density, ByColumns):
        return all(isinstance(part, Density) and is_simplest(part) for part in density.parts)
    return isinstance(density, Uniform) or is_standard_normal(density)
