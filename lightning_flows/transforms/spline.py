"""Monotone rational-quadratic splines (Durkan et al. 2019, Neural Spline Flows, section 3.1)."""

import math

import torch
from torch import Tensor
from torch.nn import functional as F

from lightning_flows.errors import ConfigError, check_positive

__all__ = ["RationalQuadratic"]

MIN_BIN = 1e-3  # smallest width and height of a bin, relative to the interval
MIN_SLOPE = 1e-3
DAMPING = 2.0  # of the bins' logits: small data sets are overfitted later


class RationalQuadratic:
    """A spline from [-bound, bound] onto itself, the identity outside.

    Standardise data first: what lies outside the interval is left as it is.

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
        self.bound = bound
        self.size = 3 * bins - 1  # widths, heights, inner slopes
        self.unit_slope = math.log(math.expm1(1 - MIN_SLOPE))  # softplus of it is slope 1

    def encode(self, x: Tensor, h: Tensor) -> tuple[Tensor, Tensor]:
        inside, u = self._to_unit(x)
        (x_k, w), (y_k, v), d_0, d_1 = self._bin(u, h, axis=0)
        s = v / w
        theta = (u - x_k) / w
        spread = theta * (1 - theta)
        denominator = s + (d_0 + d_1 - 2 * s) * spread
        y = y_k + v * (s * theta.square() + d_0 * spread) / denominator
        log_slope = _log_slope(s, d_0, d_1, theta, spread, denominator)
        return self._from_unit(inside, y, x), torch.where(inside, log_slope, 0.0)

    def decode(self, z: Tensor, h: Tensor) -> tuple[Tensor, Tensor]:
        inside, u = self._to_unit(z)
        (x_k, w), (y_k, v), d_0, d_1 = self._bin(u, h, axis=1)
        s = v / w
        y = u - y_k
        curvature = d_0 + d_1 - 2 * s
        b = v * d_0 - y * curvature
        discriminant = b.square() + 4 * s * y * (v * (s - d_0) + y * curvature)
        # rounding can push the discriminant below zero where the slope is almost flat
        theta = 2 * s * y / (b + discriminant.clamp(min=0).sqrt())
        spread = theta * (1 - theta)
        denominator = s + curvature * spread
        log_slope = _log_slope(s, d_0, d_1, theta, spread, denominator)
        return self._from_unit(inside, x_k + theta * w, z), torch.where(inside, log_slope, 0.0)

    def _to_unit(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Whether x is inside, and where in [0, 1]; clamped, or its gradient would be NaN."""
        inside = x.abs() < self.bound
        return inside, (x.clamp(-self.bound, self.bound) + self.bound) / (2 * self.bound)

    def _from_unit(self, inside: Tensor, u: Tensor, outside: Tensor) -> Tensor:
        return torch.where(inside, u * (2 * self.bound) - self.bound, outside)

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
        logits, slopes = h.split([2 * bins, bins - 1], 1)
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
        slopes = F.pad(slopes, (*inner, 1, 1)).expand(batch, -1, *event)
        raw = slopes.gather(1, torch.cat([k, k + 1], 1)) + self.unit_slope
        slope = MIN_SLOPE + F.softplus(raw)
        (x_k, y_k), (w, v), (d_0, d_1) = start.unbind(1), size.unbind(1), slope.unbind(1)
        return (x_k, w), (y_k, v), d_0, d_1


def _log_slope(
    s: Tensor, d_0: Tensor, d_1: Tensor, theta: Tensor, spread: Tensor, denominator: Tensor
) -> Tensor:
    """Log ∂y/∂x inside a bin (eq. 5)."""
    rise = d_1 * theta.square() + 2 * s * spread + d_0 * (1 - theta).square()
    return torch.log(rise * (s / denominator).square())
