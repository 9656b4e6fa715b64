"""Densities whose parameters a network computes from context."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from lightning_flows.bases.base import Density, check_context
from lightning_flows.bases.normal import normal_log_prob_each
from lightning_flows.core.errors import ShapeError, check_positive
from lightning_flows.core.noise import normal_noise
from lightning_flows.core.outside import log_prob_inside
from lightning_flows.core.shapes import as_shape, size, sum_event
from lightning_flows.core.support import REAL, Support
from lightning_flows.nets.convolutional import make_conv_net
from lightning_flows.nets.mlp import MLP

__all__ = ["ConditionalNormal", "ConvNormal", "Parametrized", "Scaled"]


class Parametrized(Density):
    """A density of independent entries whose parameters are learned or computed from context.

    All parameters are zero at the start. Subclasses say `parameters_each` and `support`, and
    implement `log_prob_each` and `draw`.

    Args:
        event_shape: shape of one point.
        context_shape: shape of the context, or None for learned constants.
        hidden: width of each hidden layer of the network from context to parameters.
        activation: relu, silu, tanh, gelu, elu or softplus.
    """

    parameters_each: int
    """Number of parameters for each entry."""

    support: Support = REAL
    """Set that events lie in."""

    def __init__(
        self,
        event_shape: Sequence[int] | int,
        context_shape: Sequence[int] | int | None = None,
        *,
        hidden: Sequence[int] = (64, 64),
        activation: str = "relu",
    ) -> None:
        super().__init__(event_shape, context_shape, self.support)
        self.net = self._network(hidden, activation)

    def log_prob_each(self, x: Tensor, context: Tensor | None = None) -> Tensor:
        """Log-density of every entry by itself, inside the support: (batch, *event_shape), nats."""
        raise NotImplementedError

    def log_prob(self, x: Tensor, context: Tensor | None = None) -> Tensor:
        return log_prob_inside(self.support, x, lambda x: sum_event(self.log_prob_each(x, context)))

    def parameters_at(self, n: int, context: Tensor | None) -> tuple[Tensor, ...]:
        """Each parameter, (n, *event_shape), for n rows of context or none."""
        check_context(self.context_shape, context, rows=n)
        like = next(self.net.parameters())
        inputs = like.new_zeros(n, 0) if context is None else context.to(like.dtype)
        if isinstance(self.net, MLP):
            inputs = inputs.flatten(1)
        out: Tensor = self.net(inputs).to(like.dtype)  # autocast must not reach the density
        return tuple(out.reshape(n, self.parameters_each, *self.event_shape).unbind(1))

    def _network(self, hidden: Sequence[int], activation: str) -> nn.Module:
        """Context to parameters, the first one of all entries first; an MLP sees a vector."""
        inputs = 0 if self.context_shape is None else size(self.context_shape)
        outputs = self.parameters_each * size(self.event_shape)
        return MLP(inputs, outputs, hidden=hidden, activation=activation, zero_last=True)


class Scaled(Parametrized):
    """A density of independent entries with a bounded scale, whose logarithm comes last.

    Args:
        event_shape: shape of one point.
        context_shape: shape of the context, or None for learned constants.
        hidden: width of each hidden layer of the network.
        activation: relu, silu, tanh, gelu, elu or softplus.
        bound: largest absolute log-scale, in nats: without one the density of entries that
            context determines would grow without end, and far points would have none in single
            precision.

    Raises:
        ConfigError: `bound` is not positive.
    """

    def __init__(
        self,
        event_shape: Sequence[int] | int,
        context_shape: Sequence[int] | int | None = None,
        *,
        hidden: Sequence[int] = (64, 64),
        activation: str = "relu",
        bound: float = 20.0,
    ) -> None:
        super().__init__(event_shape, context_shape, hidden=hidden, activation=activation)
        check_positive(bound=bound)
        self.bound = bound

    def parameters_at(self, n: int, context: Tensor | None) -> tuple[Tensor, ...]:
        *others, raw = super().parameters_at(n, context)
        return *others, self.bound * torch.tanh(raw / self.bound)


class ConditionalNormal(Scaled):
    """Diagonal normal density with mean and log-scale computed from context.

    Args:
        event_shape: shape of one point.
        context_shape: shape of the context, or None for learned constants.
        hidden: width of each hidden layer of the network.
        activation: relu, silu, tanh, gelu, elu or softplus.
        bound: largest absolute log-scale, in nats: entries that context determines, such as the
            black margin of digits, would make the density grow without end.

    Raises:
        ConfigError: `bound` is not positive.
    """

    parameters_each = 2

    def __init__(
        self,
        event_shape: Sequence[int] | int,
        context_shape: Sequence[int] | int | None = None,
        *,
        hidden: Sequence[int] = (64, 64),
        activation: str = "relu",
        bound: float = 7.0,
    ) -> None:
        super().__init__(
            event_shape, context_shape, hidden=hidden, activation=activation, bound=bound
        )

    def log_prob_each(self, x: Tensor, context: Tensor | None = None) -> Tensor:
        return normal_log_prob_each(x, *self.parameters_at(len(x), context))

    def draw(self, n: int, context: Tensor | None = None, temperature: float = 1.0) -> Tensor:
        loc, log_scale = self.parameters_at(n, context)
        return loc + temperature * log_scale.exp() * normal_noise(loc.shape, loc)

    def draw_and_score(self, n: int, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        loc, log_scale = self.parameters_at(n, context)
        x = loc + log_scale.exp() * normal_noise(loc.shape, loc)
        return x, sum_event(normal_log_prob_each(x, loc, log_scale))


class ConvNormal(ConditionalNormal):
    """Diagonal normal density of an image given an image of the same height and width.

    A `ConvNet` scores every pixel given a neighborhood of the context, 5 by 5 pixels of it.

    Args:
        event_shape: (channels, height, width) of one point.
        context_shape: (channels, height, width) of the context; it cannot be left out.
        hidden: channels of each hidden layer.
        activation: relu, silu, tanh, gelu, elu or softplus.
        bound: largest absolute log-scale, in nats, as in `ConditionalNormal`.

    Raises:
        ShapeError: event and context are not images of one height and width.
        ConfigError: `bound` is not positive.
    """

    def __init__(
        self,
        event_shape: Sequence[int] | int,
        context_shape: Sequence[int] | int | None = None,
        *,
        hidden: Sequence[int] = (32,),
        activation: str = "relu",
        bound: float = 7.0,
    ) -> None:
        event = as_shape(event_shape)
        context = None if context_shape is None else as_shape(context_shape, "context_shape")
        if context is None or not len(event) == len(context) == 3 or event[1:] != context[1:]:
            raise ShapeError(
                f"ConvNormal scores images given images of the same height and width; "
                f"event_shape is {event}, context_shape {context}."
            )
        super().__init__(event, context, hidden=hidden, activation=activation, bound=bound)

    def _network(self, hidden: Sequence[int], activation: str) -> nn.Module:
        assert self.context_shape is not None
        make = make_conv_net(hidden, activation)
        return make(self.context_shape[0], self.parameters_each * self.event_shape[0])
