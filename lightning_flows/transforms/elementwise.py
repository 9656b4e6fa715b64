"""Bijections that treat every entry of an event alike and by itself."""

import math
from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional as F

from lightning_flows.errors import ConfigError, check_positive
from lightning_flows.nets.mlp import MLP
from lightning_flows.shapes import size, sum_event
from lightning_flows.transforms.base import POSITIVE, UNIT, Support, Transform

__all__ = [
    "ElementwiseAffine",
    "LeakyReLU",
    "Logit",
    "Sigmoid",
    "Softplus",
    "Tanh",
    "inverse_softplus",
]


class ElementwiseAffine(Transform):
    """z = x·exp(s) + t with learned s and t for every entry, or functions of context.

    Args:
        event_shape: shape of one data point.
        context_shape: shape of what s and t depend on.
        hidden: width of each hidden layer of the network from context to s and t.
    """

    def __init__(
        self,
        event_shape: Sequence[int] | int,
        *,
        context_shape: Sequence[int] | int | None = None,
        hidden: Sequence[int] = (64,),
    ) -> None:
        super().__init__(event_shape, context_shape=context_shape)
        inputs = 0 if self.context_shape is None else size(self.context_shape)
        self.net = MLP(inputs, 2 * size(self.event_shape), hidden=hidden, zero_last=True)

    def encode(self, x: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        z, log_slope = self.encode_each(x, context)
        return z, sum_event(log_slope)

    def encode_each(self, x: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        t, s = self._shift_and_log_scale(x, context)
        return x * s.exp() + t, s

    def decode(self, z: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        t, s = self._shift_and_log_scale(z, context)
        return (z - t) * (-s).exp(), sum_event(s)

    def _shift_and_log_scale(self, x: Tensor, context: Tensor | None) -> tuple[Tensor, Tensor]:
        inputs = x.new_zeros(len(x), 0)
        if self.context_shape is not None and context is not None:
            inputs = context.flatten(1).to(x.dtype)
        t, s = self.net(inputs).to(x.dtype).unflatten(1, (2, *self.event_shape)).unbind(1)
        return t, s


class LeakyReLU(Transform):
    """z = x above 0, slope·x below.

    Args:
        event_shape: shape of one data point.
        slope: slope below zero.

    Raises:
        ConfigError: `slope` is not positive.
    """

    def __init__(self, event_shape: Sequence[int] | int, slope: float = 0.1) -> None:
        super().__init__(event_shape)
        check_positive(slope=slope)
        self.slope = slope

    def encode(self, x: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        return F.leaky_relu(x, self.slope), self._contribution(x)

    def decode(self, z: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        return F.leaky_relu(z, 1 / self.slope), self._contribution(z)

    def _contribution(self, x: Tensor) -> Tensor:
        return sum_event((x < 0).to(x.dtype)) * math.log(self.slope)


class Sigmoid(Transform):
    """z = 1 / (1 + exp(-x)): the real line onto (0, 1).

    Args:
        event_shape: shape of one data point.
    """

    def __init__(self, event_shape: Sequence[int] | int) -> None:
        super().__init__(event_shape, codomain=UNIT)

    def encode(self, x: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        return torch.sigmoid(x), _sigmoid_log_slope(x)

    def decode(self, z: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        x = torch.logit(z)
        return x, _sigmoid_log_slope(x)


class Logit(Transform):
    """z = logit(α + (1 - 2α)·x): [0, 1] to the real line (Dinh et al. 2017, section 4.1).

    With α > 0 both ends are finite, and a latent beyond them decodes to slightly less than 0 or
    more than 1; with α = 0 the map is onto, and data must lie strictly inside.

    Args:
        event_shape: shape of one data point.
        alpha: how far the ends are drawn in.

    Raises:
        ConfigError: `alpha` is not in [0, 0.5).
    """

    def __init__(self, event_shape: Sequence[int] | int, alpha: float = 0.0) -> None:
        super().__init__(event_shape, domain=UNIT)
        if not 0 <= alpha < 0.5:
            raise ConfigError(f"alpha is {alpha}; accepted are numbers from 0 up to 0.5.")
        self.alpha = alpha

    def encode(self, x: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        z = torch.logit(self.alpha + (1 - 2 * self.alpha) * x)
        return z, self._contribution(z)

    def decode(self, z: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        return (torch.sigmoid(z) - self.alpha) / (1 - 2 * self.alpha), self._contribution(z)

    def _contribution(self, z: Tensor) -> Tensor:
        scale = size(self.event_shape) * math.log(1 - 2 * self.alpha)
        return scale - _sigmoid_log_slope(z)


class Tanh(Transform):
    """z = tanh(x): the real line onto (-1, 1).

    Args:
        event_shape: shape of one data point.
    """

    def __init__(self, event_shape: Sequence[int] | int) -> None:
        super().__init__(event_shape, codomain=Support(-1.0, 1.0))

    def encode(self, x: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        return torch.tanh(x), self._contribution(x)

    def decode(self, z: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        x = torch.atanh(z)
        return x, self._contribution(x)

    @staticmethod
    def _contribution(x: Tensor) -> Tensor:
        return sum_event(2 * (math.log(2) - x - F.softplus(-2 * x)))


class Softplus(Transform):
    """z = log(1 + exp(x)): the real line onto the positive numbers.

    Args:
        event_shape: shape of one data point.
    """

    def __init__(self, event_shape: Sequence[int] | int) -> None:
        super().__init__(event_shape, codomain=POSITIVE)

    def encode(self, x: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        return F.softplus(x), sum_event(F.logsigmoid(x))

    def decode(self, z: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        x = inverse_softplus(z)
        return x, sum_event(F.logsigmoid(x))


def inverse_softplus(z: Tensor) -> Tensor:
    """The x with log(1 + exp(x)) = z, for every entry; an exact zero counts as a tiny number."""
    z = z.clamp(min=torch.finfo(z.dtype).tiny)
    return z + torch.log(-torch.expm1(-z))


def _sigmoid_log_slope(x: Tensor) -> Tensor:
    """Summed log of sigmoid'(x): (batch,)."""
    return sum_event(F.logsigmoid(x) + F.logsigmoid(-x))
