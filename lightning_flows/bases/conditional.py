"""Densities whose parameters a network computes from context."""

from collections.abc import Sequence

import torch
from torch import Tensor

from lightning_flows.bases.base import Density, check_context
from lightning_flows.bases.normal import normal_log_prob
from lightning_flows.nets.mlp import MLP
from lightning_flows.shapes import as_shape, size

__all__ = ["ConditionalNormal"]


class ConditionalNormal(Density):
    """Diagonal normal density with mean and log-scale computed from context.

    Args:
        event_shape: shape of one point.
        context_shape: shape of the context.
        hidden: width of each hidden layer of the network.
        activation: relu, silu, tanh, gelu, elu or softplus.
    """

    def __init__(
        self,
        event_shape: Sequence[int] | int,
        context_shape: Sequence[int] | int,
        *,
        hidden: Sequence[int] = (64, 64),
        activation: str = "relu",
    ) -> None:
        super().__init__(event_shape, context_shape)
        inputs = size(as_shape(context_shape, "context_shape"))
        outputs = 2 * size(self.event_shape)
        self.net = MLP(inputs, outputs, hidden=hidden, activation=activation, zero_last=True)

    def log_prob(self, x: Tensor, context: Tensor | None = None) -> Tensor:
        return normal_log_prob(x, *self._loc_and_log_scale(context))

    def draw(self, n: int, context: Tensor | None = None, temperature: float = 1.0) -> Tensor:
        loc, log_scale = self._loc_and_log_scale(context)
        return loc + temperature * log_scale.exp() * torch.randn_like(loc)

    def _loc_and_log_scale(self, context: Tensor | None) -> tuple[Tensor, Tensor]:
        check_context(self.context_shape, context)
        assert context is not None
        dtype = next(self.net.parameters()).dtype
        out: Tensor = self.net(context.flatten(1).to(dtype)).to(dtype)
        loc, log_scale = out.unflatten(1, (2, *self.event_shape)).unbind(1)
        return loc, log_scale
