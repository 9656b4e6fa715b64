"""Monotone rational-quadratic splines (Durkan et al. 2019, Neural Spline Flows, section 3.1).

On the real line, on an interval, and on the circle (Rezende et al. 2020, Normalizing flows on tori
and spheres, section 2.1).
"""

import math

import torch
from torch import Tensor
from torch.nn import functional as F

from lightning_flows.core.angles import wrapped
from lightning_flows.core.errors import ConfigError, check_positive

__all__ = ["BoundedSpline", "CircularSpline", "PositiveSpline", "RationalQuadratic"]

MIN_BIN = 1e-3  # smallest width and height of a bin, relative to the interval
MIN_SLOPE = 1e-3
DAMPING = 2.0  # of the bins' logits: small data sets are overfitted later


class RationalQuadratic:
    """A spline from [-bound, bound] onto itself, the identity outside.

    Standardize data first: what lies outside the interval is left as it is.

    Args:
        bins: number of bins, at least 2.
        bound: half-width of the interval.

    Raises:
        ConfigError: fewer than 2 bins, or so many that none can have the smallest width; a bound
            that is not positive.
    """

    def __init__(self, bins: int = 8, bound: float = 5.0) -> None:
        if not 2 <= bins <= int(0.5 / MIN_BIN):
            raise ConfigError(f"bins is {bins}; accepted are 2 to {int(0.5 / MIN_BIN)}.")
        check_positive(bound=bound)
        self.bins = bins
        self.low, self.high = -bound, bound
        self.slopes = bins - 1
        self.size = 3 * bins - 1  # widths, heights, inner slopes
        self.unit_slope = math.log(math.expm1(1 - MIN_SLOPE))  # softplus of it is slope 1

    def encode(self, x: Tensor, h: Tensor) -> tuple[Tensor, Tensor]:
        inside, u = self._to_unit(x)
        (x_k, w), (y_k, v), d_0, d_1 = self._bin(u, h, axis=0)
        s = v / w
        theta = (u - x_k) / w
        rest = 1 - theta
        spread = theta * rest
        denominator = s + (d_0 + d_1 - 2 * s) * spread
        y = y_k + v * (s * theta.square() + d_0 * spread) / denominator
        log_slope = _log_slope(s, d_0, d_1, theta, rest, spread, denominator)
        return self._from_unit(inside, y, x), torch.where(inside, log_slope, 0.0)

    def decode(self, z: Tensor, h: Tensor) -> tuple[Tensor, Tensor]:
        inside, u = self._to_unit(z)
        (x_k, w), (y_k, v), d_0, d_1 = self._bin(u, h, axis=1)
        s = v / w
        y = u - y_k
        y = y + (torch.minimum(y.clamp(min=0), v) - y).detach()  # rounding can leave the bin
        theta, rest = _place(s, d_0, d_1, y, v - y)
        spread = theta * rest
        denominator = s + (d_0 + d_1 - 2 * s) * spread
        log_slope = _log_slope(s, d_0, d_1, theta, rest, spread, denominator)
        return self._from_unit(inside, x_k + theta * w, z), torch.where(inside, log_slope, 0.0)

    def _to_unit(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Whether x is inside, and where in [0, 1]; clamped, or its gradient would be NaN."""
        inside = (x > self.low) & (x < self.high)
        return inside, self._share(x)

    def _from_unit(self, inside: Tensor, u: Tensor, outside: Tensor) -> Tensor:
        return torch.where(inside, u * (self.high - self.low) + self.low, outside)

    def _share(self, x: Tensor) -> Tensor:
        return (x.clamp(self.low, self.high) - self.low) / (self.high - self.low)

    def _all_slopes(self, raw: Tensor) -> Tensor:
        """Slopes at all knots, (batch, bins + 1, *event): those at the ends are 1."""
        return F.pad(raw, ((0, 0) * (raw.ndim - 2) + (1, 1)))

    def _bin(
        self, u: Tensor, h: Tensor, axis: int
    ) -> tuple[tuple[Tensor, Tensor], tuple[Tensor, Tensor], Tensor, Tensor]:
        """Start and size of the bin that u lies in, in x and in y, and its two slopes.

        Args:
            u: (batch, *event), in [0, 1].
            h: parameters, (batch, size, *event), or one row for all.
            axis: whether u is x (0) or y (1).
        """
        bins, free = self.bins, 1 - MIN_BIN * self.bins
        logits, slopes = h[:, : 2 * bins], h[:, 2 * bins : 2 * bins + self.slopes]
        shares = torch.softmax(logits.unflatten(1, (2, bins)) / DAMPING, 2)  # of what is free
        ends = (MIN_BIN + free * shares[:, axis, :-1].detach()).cumsum(1)
        inner = (0, 0) * (h.ndim - 2)
        passed = F.pad(u[:, None] >= ends, (*inner, 0, 1))
        k = passed.sum(1, keepdim=True)
        batch, _, *event = k.shape
        # a sum over the bins before: the gradient of a gathered cumsum takes three times as long
        before = passed[:, None].to(h.dtype)
        start = MIN_BIN * before.sum(2) + free * (shares * before).sum(2)
        shares = shares.expand(batch, -1, -1, *event)
        size = MIN_BIN + free * shares.gather(2, k[:, None].expand(-1, 2, *k.shape[1:])).squeeze(2)
        slopes = self._all_slopes(slopes).expand(batch, -1, *event)
        raw = slopes.gather(1, torch.cat([k, k + 1], 1)) + self.unit_slope
        slope = MIN_SLOPE + F.softplus(raw)
        (x_k, y_k), (w, v), (d_0, d_1) = start.unbind(1), size.unbind(1), slope.unbind(1)
        return (x_k, w), (y_k, v), d_0, d_1


class PositiveSpline(RationalQuadratic):
    """A spline from [0, bound] onto itself, the identity above: numbers that are not negative.

    The slope at 0 is free, and values near 0 keep their relative precision.

    Args:
        bins: number of bins, at least 2.
        bound: upper end of the interval.

    Raises:
        ConfigError: a number of bins that is out of range, or a bound that is not positive.
    """

    def __init__(self, bins: int = 8, bound: float = 5.0) -> None:
        super().__init__(bins, bound)
        self.low = 0.0
        self.slopes = bins
        self.size = 3 * bins  # widths, heights, slopes

    def _all_slopes(self, raw: Tensor) -> Tensor:
        return F.pad(raw, ((0, 0) * (raw.ndim - 2) + (0, 1)))


class BoundedSpline(RationalQuadratic):
    """A spline from [low, high] onto itself whose slopes at the ends are free.

    Args:
        bins: number of bins, at least 2.
        low: lower end.
        high: upper end.

    Raises:
        ConfigError: a number of bins that is out of range, or `low` is not below `high`.
    """

    def __init__(self, bins: int = 8, low: float = 0.0, high: float = 1.0) -> None:
        super().__init__(bins)
        if not -math.inf < low < high < math.inf:
            raise ConfigError(f"low is {low} and high is {high}; low must be smaller, both finite.")
        self.low, self.high = low, high
        self.slopes = bins + 1
        self.size = 3 * bins + 1

    def _to_unit(self, x: Tensor) -> tuple[Tensor, Tensor]:
        return torch.ones_like(x, dtype=torch.bool), self._share(x)

    def _from_unit(self, inside: Tensor, u: Tensor, outside: Tensor) -> Tensor:
        y = u * (self.high - self.low) + self.low
        return y + (y.clamp(self.low, self.high) - y).detach()  # rounding can leave the interval

    def _all_slopes(self, raw: Tensor) -> Tensor:
        return raw


class CircularSpline(BoundedSpline):
    """A rotation and then a spline of the circle, both with parameters; angles in [-π, π].

    The slopes at -π and π are equal, so that the map and its density are continuous where the two
    ends meet. The rotation comes first: it says at which angle the spline begins. It is given by
    two parameters as the direction of a vector, so that it can go round the circle as often as
    what it depends on does: x₂ near x₁ is such a density.

    Args:
        bins: number of bins, at least 2.

    Raises:
        ConfigError: a number of bins that is out of range.
    """

    def __init__(self, bins: int = 8) -> None:
        super().__init__(bins, -math.pi, math.pi)
        self.slopes = bins
        self.size = 3 * bins + 2  # widths, heights, slopes, rotation

    def encode(self, x: Tensor, h: Tensor) -> tuple[Tensor, Tensor]:
        return super().encode(wrapped(x + self._rotation(h)), h)

    def decode(self, z: Tensor, h: Tensor) -> tuple[Tensor, Tensor]:
        y, log_slope = super().decode(z, h)
        return wrapped(y - self._rotation(h)), log_slope

    def _rotation(self, h: Tensor) -> Tensor:
        across, up = h[:, self.size - 2] + 1, h[:, self.size - 1]
        return torch.atan2(up, across)

    def _all_slopes(self, raw: Tensor) -> Tensor:
        return torch.cat([raw, raw[:, :1]], 1)


def _place(s: Tensor, d_0: Tensor, d_1: Tensor, y: Tensor, rest: Tensor) -> tuple[Tensor, Tensor]:
    """How far along its bin the point is that lies y above the start and `rest` below the end.

    Of the two forms of the root of the quadratic equation (eq. 6 to 8), each bin end has one that
    only adds positive numbers: θ where the point lies nearer to the start, in the sense of the
    slopes there, and 1 - θ where it lies nearer to the end.

    Returns:
        θ and 1 - θ, both to full relative precision.
    """
    lead = d_0 * rest - d_1 * y
    first = lead >= 0
    root = torch.sqrt(lead.square() + 4 * s.square() * y * rest)
    large = torch.where(first, lead, -lead) + root  # abs has no slope at 0
    small = 2 * s * torch.where(first, y, rest)
    total = small + large
    small, large = small / total, large / total
    return torch.where(first, small, large), torch.where(first, large, small)


def _log_slope(
    s: Tensor,
    d_0: Tensor,
    d_1: Tensor,
    theta: Tensor,
    rest: Tensor,
    spread: Tensor,
    denominator: Tensor,
) -> Tensor:
    """Log ∂y/∂x inside a bin (eq. 5); `rest` is 1 - θ, and `spread` their product."""
    rise = d_1 * theta.square() + 2 * s * spread + d_0 * rest.square()
    return torch.log(rise * (s / denominator).square())
