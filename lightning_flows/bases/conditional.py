"""Densities whose parameters a network computes from context."""

from collections.abc import Callable, Sequence
from itertools import pairwise

import torch
from torch import Tensor, nn

from lightning_flows.bases.base import Density, check_context
from lightning_flows.bases.normal import normal_log_prob
from lightning_flows.errors import ConfigError, ShapeError
from lightning_flows.nets.mlp import MLP, activation_named
from lightning_flows.shapes import Shape, as_shape, size

__all__ = ["ConditionalNormal", "ConvNormal", "DensityFactory", "conditional"]

DensityFactory = Callable[[Shape], Density]
"""Makes a density from its event shape and the keyword `context_shape`: a class or a partial."""


def conditional(factory: DensityFactory, event_shape: Shape, context_shape: Shape) -> Density:
    """Make the conditional density that scores what a layer drops or adds.

    Raises:
        ShapeError: what the factory makes has other shapes.
    """
    density = factory(event_shape, context_shape=context_shape)  # type: ignore[call-arg]
    if (density.event_shape, density.context_shape) != (event_shape, context_shape):
        raise ShapeError(
            f"density scores {density.event_shape} given {density.context_shape}; "
            f"expected is {event_shape} given {context_shape}."
        )
    return density


class ConditionalNormal(Density):
    """Diagonal normal density with mean and log-scale computed from context.

    Args:
        event_shape: shape of one point.
        context_shape: shape of the context; without one, mean and log-scale are learned constants.
        hidden: width of each hidden layer of the network.
        activation: relu, silu, tanh, gelu, elu or softplus.
        bound: largest absolute log-scale, in nats: entries that context determines, such as the
            black margin of digits, would make the density grow without end.

    Raises:
        ConfigError: `bound` is not positive.
    """

    net: nn.Module

    def __init__(
        self,
        event_shape: Sequence[int] | int,
        context_shape: Sequence[int] | int | None = None,
        *,
        hidden: Sequence[int] = (64, 64),
        activation: str = "relu",
        bound: float = 7.0,
    ) -> None:
        super().__init__(event_shape, context_shape)
        if not bound > 0:
            raise ConfigError(f"bound is {bound}; accepted are positive numbers.")
        self.bound = bound
        self.net = self._network(tuple(hidden), activation)

    def log_prob(self, x: Tensor, context: Tensor | None = None) -> Tensor:
        return normal_log_prob(x, *self._loc_and_log_scale(len(x), context))

    def draw(self, n: int, context: Tensor | None = None, temperature: float = 1.0) -> Tensor:
        loc, log_scale = self._loc_and_log_scale(n, context)
        return loc + temperature * log_scale.exp() * torch.randn_like(loc)

    def _network(self, hidden: Sequence[int], activation: str) -> nn.Module:
        """(batch, *context_shape) -> two numbers for each entry of an event."""
        inputs = 0 if self.context_shape is None else size(self.context_shape)
        outputs = 2 * size(self.event_shape)
        return MLP(inputs, outputs, hidden=hidden, activation=activation, zero_last=True)

    def _inputs(self, context: Tensor) -> Tensor:
        return context.flatten(1)

    def _loc_and_log_scale(self, n: int, context: Tensor | None) -> tuple[Tensor, Tensor]:
        check_context(self.context_shape, context)
        parameter = next(self.net.parameters())
        inputs = parameter.new_zeros(n, 0) if context is None else self._inputs(context)
        out: Tensor = self.net(inputs.to(parameter.dtype)).to(parameter.dtype)
        loc, raw = out.reshape(n, 2, *self.event_shape).unbind(1)
        return loc, self.bound * torch.tanh(raw / self.bound)


class ConvNormal(ConditionalNormal):
    """Diagonal normal density of an image given an image of the same height and width.

    Every pixel is scored given a neighbourhood of the context, whose side grows by `kernel` - 1
    with each hidden layer.

    Args:
        event_shape: (channels, height, width) of one point.
        context_shape: (channels, height, width) of the context; it cannot be left out.
        hidden: channels of each hidden layer.
        activation: relu, silu, tanh, gelu, elu or softplus.
        bound: largest absolute log-scale, in nats, as in `ConditionalNormal`.
        kernel: side of the convolution kernels, an odd number.

    Raises:
        ShapeError: event and context are not images of one height and width.
        ConfigError: `kernel` is even, or `bound` not positive.
    """

    def __init__(
        self,
        event_shape: Sequence[int] | int,
        context_shape: Sequence[int] | int | None = None,
        *,
        hidden: Sequence[int] = (32,),
        activation: str = "relu",
        bound: float = 7.0,
        kernel: int = 3,
    ) -> None:
        event = as_shape(event_shape)
        context = None if context_shape is None else as_shape(context_shape, "context_shape")
        if context is None or not len(event) == len(context) == 3 or event[1:] != context[1:]:
            raise ShapeError(
                f"ConvNormal scores images given images of the same height and width; "
                f"event_shape is {event}, context_shape {context}."
            )
        if kernel < 1 or kernel % 2 == 0:
            raise ConfigError(f"kernel is {kernel}; accepted are odd numbers.")
        self.kernel = kernel
        super().__init__(event, context, hidden=hidden, activation=activation, bound=bound)

    def _network(self, hidden: Sequence[int], activation: str) -> nn.Module:
        assert self.context_shape is not None
        layers: list[nn.Module] = []
        widths = [self.context_shape[0], *hidden]
        for n_in, n_out in pairwise(widths):
            convolution = nn.Conv2d(n_in, n_out, self.kernel, padding=self.kernel // 2)
            layers += [convolution, activation_named(activation)]
        last = nn.Conv2d(widths[-1], 2 * self.event_shape[0], 1)
        nn.init.zeros_(last.weight)
        assert last.bias is not None
        nn.init.zeros_(last.bias)
        return nn.Sequential(*layers, last)

    def _inputs(self, context: Tensor) -> Tensor:
        return context
