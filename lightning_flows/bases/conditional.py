"""Densities whose parameters a network computes from context."""

from collections.abc import Sequence

from torch import Tensor

from lightning_flows.bases.base import Density, check_context
from lightning_flows.bases.noise import normal_noise
from lightning_flows.bases.normal import normal_log_prob_each
from lightning_flows.bases.support import REAL, Support
from lightning_flows.nets.mlp import MLP
from lightning_flows.shapes import size, sum_event

__all__ = ["ConditionalNormal", "Parametrised"]


class Parametrised(Density):
    """A density of independent entries whose parameters are learned or computed from context.

    All parameters are zero at the start. Subclasses implement `log_prob_each` and `draw`.

    Args:
        event_shape: shape of one point.
        context_shape: shape of the context, or None for learned constants.
        parameters: number of parameters for each entry.
        hidden: width of each hidden layer of the network.
        activation: relu, silu, tanh, gelu, elu or softplus.
        support: set that events lie in.
    """

    def __init__(
        self,
        event_shape: Sequence[int] | int,
        context_shape: Sequence[int] | int | None = None,
        *,
        parameters: int,
        hidden: Sequence[int] = (64, 64),
        activation: str = "relu",
        support: Support = REAL,
    ) -> None:
        super().__init__(event_shape, context_shape, support)
        inputs = 0 if self.context_shape is None else size(self.context_shape)
        self.parameters_each = parameters
        self.net = MLP(
            inputs,
            parameters * size(self.event_shape),
            hidden=hidden,
            activation=activation,
            zero_last=True,
        )

    def log_prob_each(self, x: Tensor, context: Tensor | None = None) -> Tensor:
        """Log-density of every entry by itself: (batch, *event_shape), nats."""
        raise NotImplementedError

    def log_prob(self, x: Tensor, context: Tensor | None = None) -> Tensor:
        return sum_event(self.log_prob_each(x, context))

    def parameters_at(self, n: int, context: Tensor | None) -> tuple[Tensor, ...]:
        """Each parameter, (n, *event_shape), for n rows of context or none."""
        check_context(self.context_shape, context)
        like = next(self.net.parameters())
        inputs = like.new_zeros(n, 0) if context is None else context.flatten(1).to(like.dtype)
        out: Tensor = self.net(inputs).to(like.dtype)  # autocast must not reach the density
        return tuple(out.unflatten(1, (self.parameters_each, *self.event_shape)).unbind(1))


class ConditionalNormal(Parametrised):
    """Diagonal normal density with mean and log-scale computed from context.

    Args:
        event_shape: shape of one point.
        context_shape: shape of the context, or None for learned constants.
        hidden: width of each hidden layer of the network.
        activation: relu, silu, tanh, gelu, elu or softplus.
    """

    def __init__(
        self,
        event_shape: Sequence[int] | int,
        context_shape: Sequence[int] | int | None = None,
        *,
        hidden: Sequence[int] = (64, 64),
        activation: str = "relu",
    ) -> None:
        super().__init__(
            event_shape, context_shape, parameters=2, hidden=hidden, activation=activation
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
