"""Densities for each kind of support: bases that transforms meet, and proposals that cover all."""

import math

import torch
from torch import Tensor

from lightning_flows.bases import (
    REAL,
    Categorical,
    Density,
    HalfNormal,
    Normal,
    Support,
    Uniform,
    ZeroInflated,
)
from lightning_flows.bases.support import by_columns
from lightning_flows.flows.base import Flow
from lightning_flows.transforms.sorting import SortedToReal


class SortedNormal(Density):
    """Normal numbers in ascending order; further features of a point are normal too."""

    def __init__(self, event_shape: tuple[int, ...], scale: float) -> None:
        super().__init__(event_shape, support=Support(sorted=True))
        self.normal = Normal(event_shape, scale=scale)

    def log_prob(self, x: Tensor, context: Tensor | None = None) -> Tensor:
        return self.normal.log_prob(x) + math.lgamma(self.event_shape[0] + 1)

    def draw(self, n: int, context: Tensor | None = None, temperature: float = 1.0) -> Tensor:
        x = self.normal.draw(n).flatten(2) if len(self.event_shape) > 1 else self.normal.draw(n)
        if x.ndim == 2:
            return x.sort(1).values
        x = torch.cat([x[..., :1].sort(1).values, x[..., 1:]], 2)
        return x.reshape(n, *self.event_shape)


class Around(Density):
    """Normal density with the mean of some points and a covariance wider than theirs."""

    def __init__(self, points: Tensor, scale: float) -> None:
        super().__init__(points.shape[1:])
        flat = points.flatten(1)
        covariance = scale**2 * flat.mT.cov().reshape(flat.shape[1], flat.shape[1])
        self.normal = torch.distributions.MultivariateNormal(flat.mean(0), covariance)

    def log_prob(self, x: Tensor, context: Tensor | None = None) -> Tensor:
        log_prob: Tensor = self.normal.log_prob(x.flatten(1))
        return log_prob

    def draw(self, n: int, context: Tensor | None = None, temperature: float = 1.0) -> Tensor:
        x: Tensor = self.normal.sample(torch.Size((n,)))
        return x.reshape(n, *self.event_shape)


class ByColumns(Density):
    """Independent entries of the first dimension, each with a density of its own."""

    def __init__(self, parts: list[Density]) -> None:
        shape = (len(parts), *parts[0].event_shape[1:])
        super().__init__(shape, support=by_columns([part.support for part in parts]))
        self.parts = torch.nn.ModuleList(parts)

    def log_prob(self, x: Tensor, context: Tensor | None = None) -> Tensor:
        columns = zip(self.parts, x.split(1, 1), strict=True)
        return torch.stack([part(column) for part, column in columns]).sum(0)

    def draw(self, n: int, context: Tensor | None = None, temperature: float = 1.0) -> Tensor:
        return torch.cat([part.draw(n) for part in self.parts], 1)  # type: ignore[operator]


def base_on(support: Support | None, shape: tuple[int, ...]) -> Density:
    """A density with this support."""
    support = support or REAL
    if support.columns:
        return ByColumns([base_on(column, (1, *shape[1:])) for column in support.columns])
    if support.sorted:
        return Flow(SortedToReal(shape))
    if support.discrete:
        return Categorical(shape, classes=int(support.high))
    if support.atom:
        return ZeroInflated(shape)
    if math.isfinite(support.high):
        return Uniform(shape, low=support.low, high=support.high)
    return Normal(shape) if math.isinf(support.low) else HalfNormal(shape)


def proposal_on(support: Support | None, shape: tuple[int, ...]) -> Density:
    """A density that is wide enough to be the proposal of importance sampling."""
    support = support or REAL
    if support.columns:
        return ByColumns([proposal_on(column, (1, *shape[1:])) for column in support.columns])
    if support.sorted:
        return SortedNormal(shape, scale=1.7)
    if support == REAL:
        return Normal(shape, scale=1.7)
    density = base_on(support, shape)
    if isinstance(density, HalfNormal | ZeroInflated):
        with torch.no_grad():
            density.net.constant[-math.prod(shape) :] = math.log(2)  # the scales come last
    return density
