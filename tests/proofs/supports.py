"""Densities for each kind of support: bases that transforms meet, and proposals that cover all."""

import math

import torch
from torch import Tensor

from lightning_flows.bases import (
    ByColumns,
    Categorical,
    ConeMeasure,
    Density,
    HalfNormal,
    Normal,
    Uniform,
    UniformTorus,
    ZeroInflated,
)
from lightning_flows.core.angles import wrapped
from lightning_flows.core.hypersurfaces import LpSphere
from lightning_flows.core.support import (
    REAL,
    Circles,
    Columns,
    Interval,
    Levels,
    Simplex,
    Sorted,
    Sphere,
    Support,
    Torus,
    set_of_each,
)
from lightning_flows.flows.base import Flow
from lightning_flows.transforms.surjections.sorting import SortedToReal


class SortedNormal(Density):
    """Normal numbers in ascending order; further features of a point are normal too."""

    def __init__(self, event_shape: tuple[int, ...], scale: float) -> None:
        super().__init__(event_shape, support=Sorted())
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


class UniformOn(Density):
    """Uniform on a sphere, a simplex or a product of circles, with respect to its volume."""

    def __init__(self, support: Sphere | Simplex | Circles, shape: tuple[int, ...]) -> None:
        super().__init__(shape, support=support)
        n = support.n
        if isinstance(support, Simplex):
            self.log_volume = math.log(n + 1) / 2 - math.lgamma(n + 1)
        elif isinstance(support, Circles):
            self.log_volume = n * math.log(2 * math.pi)
        else:
            half = (n + 1) / 2
            self.log_volume = math.log(2) + half * math.log(math.pi) - math.lgamma(half)

    def log_prob(self, x: Tensor, context: Tensor | None = None) -> Tensor:
        return x.new_full((len(x),), -self.log_volume)

    def draw(self, n: int, context: Tensor | None = None, temperature: float = 1.0) -> Tensor:
        noise = torch.randn(n, *self.event_shape, dtype=torch.float64)
        if isinstance(self.support, Simplex):
            exponential = -torch.log(torch.rand_like(noise))
            return exponential / exponential.sum(1, keepdim=True)
        if isinstance(self.support, Circles):
            pairs = noise.unflatten(1, (-1, 2))
            return (pairs / pairs.norm(dim=2, keepdim=True)).flatten(1)
        return noise / noise.norm(dim=1, keepdim=True)


def apart(support: Support | None, a: Tensor, b: Tensor) -> Tensor:
    """Differences between points, (batch, *event); those of angles the short way round."""
    if not isinstance(support, Torus | Columns):
        return a - b
    pairs = zip(a.split(1, 1), b.split(1, 1), set_of_each(support, a.shape[1]), strict=True)
    return torch.cat([wrapped(a - b) if isinstance(s, Torus) else a - b for a, b, s in pairs], 1)


def base_on(support: Support | None, shape: tuple[int, ...]) -> Density:
    """A density with this support."""
    support = support or REAL
    if isinstance(support, Columns):
        return ByColumns(shape, [base_on(column, (1, *shape[1:])) for column in support.sets])
    if isinstance(support, Sorted):
        return Flow(SortedToReal(shape))
    if isinstance(support, Levels):
        return Categorical(shape, classes=int(support.high))
    if isinstance(support, Torus):
        return UniformTorus(shape)
    assert isinstance(support, Interval)
    if support.atom:
        return ZeroInflated(shape)
    if math.isfinite(support.high):
        return Uniform(shape, low=support.low, high=support.high)
    return Normal(shape) if math.isinf(support.low) else HalfNormal(shape)


def proposal_on(support: Support | None, shape: tuple[int, ...]) -> Density:
    """A density that is wide enough to be the proposal of importance sampling."""
    support = support or REAL
    if isinstance(support, Columns):
        return ByColumns(shape, [proposal_on(column, (1, *shape[1:])) for column in support.sets])
    if isinstance(support, Sorted):
        return SortedNormal(shape, scale=1.7)
    if isinstance(support, Sphere | Simplex | Circles):
        return UniformOn(support, shape)
    if isinstance(support, LpSphere):
        return ConeMeasure(shape, p=support.p, level=support.level, positive=support.positive)
    if support == REAL:
        return Normal(shape, scale=1.7)
    density = base_on(support, shape)
    if isinstance(density, HalfNormal | ZeroInflated):
        with torch.no_grad():
            density.net.constant[-math.prod(shape) :] = math.log(2)  # the scales come last
    return density


def scaled_base(support: Support | None, shape: tuple[int, ...], scale: float) -> Density:
    """A density with this support, which draws numbers of this size where the support has them."""
    if (support or REAL) == REAL:
        return Normal(shape, scale=scale)
    density = base_on(support, shape)
    if isinstance(density, HalfNormal | ZeroInflated):
        with torch.no_grad():
            density.net.constant[-math.prod(shape) :] = math.log(scale)  # the scales come last
    return density


def rows_outside(support: Support, x: Tensor) -> Tensor:
    """Rows of which one entry lies outside, or the order; x are rows inside, two or more."""
    if isinstance(support, Columns):
        rows = []
        for i, column in enumerate(support.sets):
            for row in rows_outside(column, x[:2, i : i + 1]) if column != REAL else ():
                rows.append(torch.cat([x[0, :i], row, x[0, i + 1 :]]))
        return torch.stack(rows)
    if isinstance(support, Sorted):
        infinite = x[:1].clone()
        infinite.flatten()[0] = -math.inf
        return torch.cat([x.flip(1)[: len(x) * (x.shape[1] > 1)], infinite])
    if isinstance(support, Sphere | Simplex | Torus | Circles | LpSphere):
        return _off(support, x[0])
    assert isinstance(support, Interval | Levels)
    slack = support.slack if isinstance(support, Interval) else 0
    low, high = support.low - slack, support.high + slack
    numbers = [math.inf, -math.inf, low - 1e-3, low - 1.0, low - 1e6]
    if isinstance(support, Levels):
        numbers += [low + 0.5, high, high + 0.5, high + 1e6]
    elif math.isfinite(high):
        numbers += [high + 1e-3, high + 1.0]
    rows = x[:1].repeat(2 * len(numbers), *[1] * (x.ndim - 1)).flatten(1)
    rows[: len(numbers), 0] = torch.tensor(numbers).to(x)
    rows[len(numbers) :, -1] = torch.tensor(numbers).to(x)
    return rows.reshape(-1, *x.shape[1:])


def _off(support: Sphere | Simplex | Torus | Circles | LpSphere, row: Tensor) -> Tensor:
    """A point of a manifold moved off it, in several ways."""
    moved = [row * 1.001, row + torch.inf, 0 * row - 4]
    if isinstance(support, Torus):
        moved[0] = row + 2 * math.pi
    if isinstance(support, LpSphere | Sphere) and support.positive:
        moved.append(-row)
    if isinstance(support, Simplex):  # the sum stays 1
        moved.append(row + torch.cat([-1 - row[:1], 1 + row[:1], 0 * row[2:]]))
    return torch.stack(moved)
