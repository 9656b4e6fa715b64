"""Vector fields: velocities of points in time, which continuous flows follow."""

import math
from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn

from lightning_flows.core.errors import ConfigError, ShapeError, check_least
from lightning_flows.core.shapes import Shape, as_shape, check_batch, size
from lightning_flows.nets.mlp import ResidualMLP

__all__ = ["FieldFactory", "FieldMLP", "VectorField"]


class VectorField(nn.Module):
    """Velocity of points x at times t in [0, 1]; noise is at time 0, data at time 1.

    Subclasses implement `forward`. It must be differentiable in x, in forward mode too, and must
    treat every row on its own.

    Args:
        event_shape: shape of one point.
        context_shape: shape of what the velocity is conditioned on, or None.
    """

    def __init__(
        self, event_shape: Sequence[int] | int, context_shape: Sequence[int] | int | None = None
    ) -> None:
        super().__init__()
        self.event_shape = as_shape(event_shape)
        self.context_shape: Shape | None = (
            None if context_shape is None else as_shape(context_shape, "context_shape")
        )

    def forward(self, x: Tensor, t: Tensor, context: Tensor | None = None) -> Tensor:
        """What `velocity` gives, (batch, *event_shape), for times (batch,), without its checks."""
        raise NotImplementedError

    def velocity(self, x: Tensor, t: Tensor | float, context: Tensor | None = None) -> Tensor:
        """Velocity of points at times.

        Args:
            x: points, (batch, *event_shape).
            t: times from 0 to 1, (batch,), or one for all.
            context: (batch, *context_shape), or None for an unconditional field.

        Returns:
            (batch, *event_shape), in units of x for the whole time from 0 to 1.

        Raises:
            ShapeError: points, times or context have another shape.
            ConfigError: a time lies outside of [0, 1].
        """
        check_batch(x, self.event_shape, "x")
        if (context is None) != (self.context_shape is None):
            raise ShapeError(
                f"context is {'missing' if context is None else 'given'}; the field has the "
                f"context_shape {self.context_shape}."
            )
        if context is not None and self.context_shape is not None:
            check_batch(context, self.context_shape, "context")
        times = torch.as_tensor(t, dtype=x.dtype, device=x.device)
        if times.ndim and times.shape != (len(x),):
            raise ShapeError(
                f"t has shape {tuple(times.shape)}; expected is one time, or one for each of "
                f"{len(x)} points."
            )
        outside = ~((times >= 0) & (times <= 1))
        if outside.any():
            raise ConfigError(
                f"t is {times[outside].flatten()[0].item():g}; accepted are times from 0 (noise) "
                "to 1 (data)."
            )
        v: Tensor = self(x, times.expand(len(x)), context)
        return v


FieldFactory = Callable[[Shape], VectorField]
"""Makes a field from the shape of one point, and from `context_shape` where it takes one."""


class FieldMLP(VectorField):
    """Residual blocks that see the point, features of the time, and context, all joined.

    The features of t are t itself, cos πkt and sin πkt for k up to `frequencies`. The velocity is
    zero at the start.

    Args:
        event_shape: shape of one point.
        context_shape: shape of what the velocity is conditioned on, or None.
        hidden: width of each residual block; all widths are equal.
        activation: silu, tanh, gelu, elu or softplus; relu leaves kinks in the density.
        frequencies: number of frequencies among the features of the time.

    Raises:
        ConfigError: widths that differ, or a number out of range.
    """

    def __init__(
        self,
        event_shape: Sequence[int] | int,
        context_shape: Sequence[int] | int | None = None,
        *,
        hidden: Sequence[int] = (128, 128, 128),
        activation: str = "silu",
        frequencies: int = 4,
    ) -> None:
        super().__init__(event_shape, context_shape)
        check_least(0, frequencies=frequencies)
        features = size(self.event_shape)
        beside = 0 if self.context_shape is None else size(self.context_shape)
        self.frequencies = frequencies
        self.net = ResidualMLP(
            features + 1 + 2 * frequencies + beside,
            features,
            hidden=hidden,
            activation=activation,
            zero_last=True,
        )

    def forward(self, x: Tensor, t: Tensor, context: Tensor | None = None) -> Tensor:
        orders = torch.arange(1, self.frequencies + 1, dtype=x.dtype, device=x.device)
        angles = math.pi * t[:, None] * orders
        parts = [x.flatten(1), t[:, None], angles.cos(), angles.sin()]
        if context is not None:
            parts.append(context.flatten(1))
        v: Tensor = self.net(torch.cat(parts, 1))
        return v.reshape(x.shape)
