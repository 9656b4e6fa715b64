"""Uniform density on a box."""

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from lightning_flows.bases.base import Density
from lightning_flows.core.errors import ConfigError, check_finite
from lightning_flows.core.noise import uniform_noise
from lightning_flows.core.outside import log_prob_inside
from lightning_flows.core.shapes import size
from lightning_flows.core.support import Interval

__all__ = ["Uniform"]


class Uniform(Density):
    """Uniform density, for transforms whose latents lie in an interval (Sigmoid, Tanh).

    Args:
        event_shape: shape of one point.
        low: lower end in every dimension.
        high: upper end in every dimension.

    Raises:
        ConfigError: `low` is not below `high`.
    """

    anchor: Tensor

    def __init__(
        self, event_shape: Sequence[int] | int, *, low: float = 0.0, high: float = 1.0
    ) -> None:
        check_finite(low=low, high=high)
        if not low < high:
            raise ConfigError(f"low is {low} and high is {high}; low must be smaller.")
        super().__init__(event_shape, support=Interval(float(low), float(high)))
        self.low, self.high = float(low), float(high)
        self.register_buffer("anchor", torch.zeros(()), persistent=False)  # device and dtype

    def log_prob(self, x: Tensor, context: Tensor | None = None) -> Tensor:
        """Log-density, -inf outside of the box: (batch,), nats."""
        log_density = -size(self.event_shape) * math.log(self.high - self.low)
        return log_prob_inside(self.support, x, lambda x: x.new_full((len(x),), log_density))

    def draw(self, n: int, context: Tensor | None = None, temperature: float = 1.0) -> Tensor:
        """Draw points; a `temperature` below 1 draws them from a smaller box, above 1 it is 1."""
        low, high = self.low, self.high
        noise = uniform_noise((n, *self.event_shape), self.anchor)
        return (low + high) / 2 + min(temperature, 1.0) * (high - low) * (noise - 0.5)
