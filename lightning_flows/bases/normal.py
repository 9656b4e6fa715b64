"""Normal densities with a mean and a scale for every dimension."""

import math
from collections.abc import Sequence
from typing import TypeGuard

import torch
from torch import Tensor, nn

from lightning_flows.bases.base import Density
from lightning_flows.core.errors import check_finite, check_positive
from lightning_flows.core.noise import normal_noise
from lightning_flows.core.shapes import sum_event

__all__ = ["Normal", "is_standard_normal", "normal_log_prob", "normal_log_prob_each"]


def normal_log_prob(x: Tensor, loc: Tensor, log_scale: Tensor) -> Tensor:
    """Log-density of a diagonal normal, summed over the event: (batch,), nats."""
    return sum_event(normal_log_prob_each(x, loc, log_scale))


def normal_log_prob_each(x: Tensor, loc: Tensor, log_scale: Tensor) -> Tensor:
    """Log-density of every entry, in nats."""
    z = (x - loc) * torch.exp(-log_scale)
    return -0.5 * z.square() - log_scale - 0.5 * math.log(2 * math.pi)


class Normal(Density):
    """Diagonal normal density; standard normal unless `learned` or given otherwise.

    Args:
        event_shape: shape of one point.
        loc: mean of every dimension at the start.
        scale: standard deviation of every dimension at the start.
        learned: whether mean and log standard deviation are parameters.

    Raises:
        ConfigError: `scale` is not positive.
    """

    def __init__(
        self,
        event_shape: Sequence[int] | int,
        *,
        loc: float = 0.0,
        scale: float = 1.0,
        learned: bool = False,
    ) -> None:
        super().__init__(event_shape)
        check_finite(loc=loc)
        check_positive(scale=scale)
        tensors = {
            "loc": torch.full(self.event_shape, float(loc)),
            "log_scale": torch.full(self.event_shape, math.log(scale)),
        }
        for name, tensor in tensors.items():
            if learned:
                self.register_parameter(name, nn.Parameter(tensor))
            else:
                self.register_buffer(name, tensor)
        self.loc: Tensor
        self.log_scale: Tensor

    def log_prob(self, x: Tensor, context: Tensor | None = None) -> Tensor:
        return normal_log_prob(x, self.loc, self.log_scale)

    def draw(self, n: int, context: Tensor | None = None, temperature: float = 1.0) -> Tensor:
        noise = normal_noise((n, *self.event_shape), self.loc)
        return self.loc + temperature * self.log_scale.exp() * noise


def is_standard_normal(density: Density) -> TypeGuard[Normal]:
    """Whether a density is the standard normal one that every flow has by default."""
    fixed = isinstance(density, Normal) and not [*density.parameters()]
    return fixed and not any(bool(buffer.any()) for buffer in density.buffers())
