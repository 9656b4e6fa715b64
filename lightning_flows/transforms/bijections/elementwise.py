"""Bijections that treat every entry of an event alike and by itself."""

import math
from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional as F

from lightning_flows.core.errors import ConfigError, check_positive
from lightning_flows.core.shapes import size, sum_event
from lightning_flows.core.support import POSITIVE, UNIT, Interval
from lightning_flows.nets.mlp import MLP
from lightning_flows.transforms.base import Transform

__all__ = [
    "ElementwiseAffine",
    "LeakyReLU",
    "Logit",
    "Sigmoid",
    "Softplus",
    "Tanh",
    "inverse_softplus",
]


ROUNDING = 1e-6  # of numbers around 1 in single precision, with room


class ElementwiseAffine(Transform):
    """z = x·exp(s) + t with learned s and t for every entry, or functions of context.

    Args:
        event_shape: shape of one data point.
        context_shape: shape of what s and t depend on.
        hidden: width of each hidden layer of the network from context to s and t.
        bound: largest absolute log-scale, in nats: what a network computes has no bound of its
            own, and from exp(88) on single precision has no numbers.

    Raises:
        ConfigError: `bound` is not positive.
    """

    def __init__(
        self,
        event_shape: Sequence[int] | int,
        *,
        context_shape: Sequence[int] | int | None = None,
        hidden: Sequence[int] = (64,),
        bound: float = 20.0,
    ) -> None:
        super().__init__(event_shape, context_shape=context_shape)
        check_positive(bound=bound)
        self.bound = bound
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
        t, raw = self.net(inputs).to(x.dtype).unflatten(1, (2, *self.event_shape)).unbind(1)
        return t, self.bound * torch.tanh(raw / self.bound)


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

    A latent of exactly 0 or 1, by rounding or from a base, counts as the nearest number inside.

    Args:
        event_shape: shape of one data point.
    """

    def __init__(self, event_shape: Sequence[int] | int) -> None:
        super().__init__(event_shape, codomain=UNIT)

    def encode(self, x: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        return _open(torch.sigmoid(x), 0.0, 1.0), _sigmoid_log_slope(x)

    def decode(self, z: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        x = torch.logit(_open(z, 0.0, 1.0))
        return x, _sigmoid_log_slope(x)


class Logit(Transform):
    """z = logit(α + (1 - 2α)·x): [0, 1] to the real line (Dinh et al. 2017, section 4.1).

    With α > 0 the ends of [0, 1] have latents, and a latent beyond those decodes to slightly less
    than 0 or more than 1, down to -α / (1 - 2α), and up to as much beyond 1. At the ends of what it
    decodes to (0 and 1 where α = 0) a number counts as the nearest one inside; beyond them its
    latent is NaN, and a `Flow` gives it the log-density -inf.

    Args:
        event_shape: shape of one data point.
        alpha: how far the ends are drawn in.

    Raises:
        ConfigError: `alpha` is not in [0, 0.5).
    """

    def __init__(self, event_shape: Sequence[int] | int, alpha: float = 0.0) -> None:
        if not 0 <= alpha < 0.5:
            raise ConfigError(f"alpha is {alpha}; accepted are numbers from 0 up to 0.5.")
        # a little more, as what is decoded is rounded
        slack = alpha / (1 - 2 * alpha) * (1 + ROUNDING) + ROUNDING if alpha else 0.0
        super().__init__(event_shape, domain=Interval(0.0, 1.0, slack=slack))
        self.alpha = alpha

    def encode(self, x: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        u = self.alpha + (1 - 2 * self.alpha) * x
        z = torch.logit(_open(u, 0.0, 1.0, self.alpha))
        return z, self._contribution(z)

    def decode(self, z: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        x = (_open(torch.sigmoid(z), 0.0, 1.0) - self.alpha) / (1 - 2 * self.alpha)
        return x, self._contribution(z)

    def _contribution(self, z: Tensor) -> Tensor:
        scale = size(self.event_shape) * math.log(1 - 2 * self.alpha)
        return scale - _sigmoid_log_slope(z)


class Tanh(Transform):
    """z = tanh(x): the real line onto (-1, 1).

    A latent of exactly -1 or 1, by rounding or from a base, counts as the nearest number inside.

    Args:
        event_shape: shape of one data point.
    """

    def __init__(self, event_shape: Sequence[int] | int) -> None:
        super().__init__(event_shape, codomain=Interval(-1.0, 1.0))

    def encode(self, x: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        return _open(torch.tanh(x), -1.0, 1.0), self._contribution(x)

    def decode(self, z: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        x = torch.atanh(_open(z, -1.0, 1.0))
        return x, self._contribution(x)

    @staticmethod
    def _contribution(x: Tensor) -> Tensor:
        return sum_event(2 * (math.log(2) - x - F.softplus(-2 * x)))


class Softplus(Transform):
    """z = log(1 + exp(x)): the real line onto the positive numbers.

    A latent of exactly 0, by rounding or from a base, counts as the smallest normal number.

    Args:
        event_shape: shape of one data point.
    """

    def __init__(self, event_shape: Sequence[int] | int) -> None:
        super().__init__(event_shape, codomain=POSITIVE)

    def encode(self, x: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        z = F.softplus(x).clamp(min=torch.finfo(x.dtype).tiny)
        return z, sum_event(F.logsigmoid(x))

    def decode(self, z: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        x = inverse_softplus(z)
        return x, sum_event(F.logsigmoid(x))


def inverse_softplus(z: Tensor) -> Tensor:
    """The x with log(1 + exp(x)) = z, for every entry, NaN below zero.

    An exact zero counts as the smallest normal number.
    """
    tiny = torch.finfo(z.dtype).tiny
    z = torch.where((z >= 0) & (z < tiny), tiny, z)
    return z + torch.log(-torch.expm1(-z))


def _open(values: Tensor, low: float, high: float, shift: float = 0.0) -> Tensor:
    """Numbers at an end of an interval become the nearest ones inside; others stay as they are.

    Sigmoid and tanh round to the closed end of an open interval, from which no way leads back.

    Args:
        values: any numbers.
        low: lower end, 0 or -1.
        high: upper end, 1.
        shift: a number that has been added to what had the ends -shift and 1 + shift before, so
            that values have its rounding error; they may lie beyond the ends by as much.
    """
    info = torch.finfo(values.dtype)
    least = max(info.tiny, shift * info.eps / 2)
    lowest = least if low == 0 else low * (1 - info.eps / 2)
    slack = ROUNDING if shift else 0.0
    near = (values >= low - slack) & (values <= high + slack)
    return torch.where(near, values.clamp(lowest, high * (1 - info.eps / 2)), values)


def _sigmoid_log_slope(x: Tensor) -> Tensor:
    """Summed log of sigmoid'(x): (batch,)."""
    return sum_event(F.logsigmoid(x) + F.logsigmoid(-x))
