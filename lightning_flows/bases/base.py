"""The contract of a density: `log_prob` and `sample`, with or without context."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

import torch
from torch import Tensor, nn
from torch.distributions import Distribution, constraints

from lightning_flows.core.errors import ConfigError, ShapeError
from lightning_flows.core.kinds import Kind
from lightning_flows.core.recipe import Recorded
from lightning_flows.core.shapes import Shape, as_shape, check_batch
from lightning_flows.core.starting import Starting
from lightning_flows.core.support import REAL, Measure, Support

__all__ = ["Density", "DensityDistribution", "check_context"]


class Density(Recorded, nn.Module):
    """A density on events of one shape. Bases are densities, and so is every flow.

    Subclasses implement `log_prob` and `draw`; `draw` takes its noise from
    `lightning_flows.core.noise`, so that scores which draw are reproducible. What modules and
    callbacks may ask of a density is declared here; what holds by default is overridden elsewhere.

    Args:
        event_shape: shape of one point.
        context_shape: shape of what the density is conditioned on, or None.
        support: set that events lie in.

    Attributes:
        latent_shape: shape of what `encode` gives; `event_shape` unless a flow says otherwise.
        manifold_shape: shape of coordinates on the manifold that events lie on.
        classes: number of categories of each column, 0 for a real one; None without categories.

    Raises:
        ShapeError: no event of this shape lies in the support.
    """

    def __init__(
        self,
        event_shape: Sequence[int] | int,
        context_shape: Sequence[int] | int | None = None,
        support: Support = REAL,
    ) -> None:
        super().__init__()
        self.event_shape: Shape = as_shape(event_shape)
        self.context_shape: Shape | None = (
            None if context_shape is None else as_shape(context_shape, "context_shape")
        )
        support.check(self.event_shape)
        self.support = support
        self.latent_shape: Shape = self.event_shape
        self.manifold_shape: Shape = self.event_shape
        self.classes: tuple[int, ...] | None = None

    @property
    def exact(self) -> bool:
        """Whether `log_prob` is the log-density itself and not a lower bound."""
        return True

    @property
    def kind(self) -> Kind:
        """Whether `encode` and `decode` draw at random."""
        return "bijection"

    @property
    def reparametrized(self) -> bool:
        """Whether draws carry the gradient of expectations to all parameters.

        They do not where a draw chooses between categories.
        """
        return True

    @property
    def fixed_profile(self) -> bool:
        """Whether training cannot change how much volume has which density.

        So it is for a density without parameters, and for one that layers make of it which all
        preserve volume: they move its values about.
        """
        return not [*self.parameters()]

    @property
    def measure(self) -> Measure:
        """What `log_prob` is a density with respect to."""
        return self.support.measure

    def log_prob(self, x: Tensor, context: Tensor | None = None) -> Tensor:
        """Log-density at x, -inf outside of `support`.

        Args:
            x: points, (batch, *event_shape).
            context: (batch, *context_shape), or None for an unconditional density.

        Returns:
            (batch,), nats.
        """
        raise NotImplementedError

    def encode(self, x: Tensor, context: Tensor | None = None) -> Tensor:
        """Latents of data, (batch, *latent_shape): the data itself unless a flow has others."""
        return x

    def decode(self, z: Tensor, context: Tensor | None = None) -> Tensor:
        """Data of latents: (batch, *latent_shape) -> (batch, *event_shape)."""
        return z

    def draw(self, n: int, context: Tensor | None = None, temperature: float = 1.0) -> Tensor:
        """Draw n points, one for each row of context where there is context: (n, *event_shape)."""
        raise NotImplementedError

    def draw_and_score(self, n: int, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Draw n points as `draw` does, with the log-density (n,) of each in nats."""
        x = self.draw(n, context)
        return x, self.log_prob(x, context)

    def sample(self, n: int, context: Tensor | None = None, temperature: float = 1.0) -> Tensor:
        """Draw points; reparametrized where the density is.

        Args:
            n: number of points, for each row of context where there is context.
            context: (batch, *context_shape), or None for an unconditional density.
            temperature: factor on the standard deviation of the base; 1 is the density itself.

        Returns:
            (n, *event_shape), or with context (batch, n, *event_shape).

        Raises:
            ShapeError: context is missing, superfluous or of the wrong shape.
        """
        check_context(self.context_shape, context)
        if context is None:
            return self.draw(n, None, temperature)
        rows = context.repeat_interleave(n, 0)
        draws: Tensor = self.draw(len(rows), rows, temperature).unflatten(0, (len(context), n))
        return draws

    def sample_and_log_prob(self, n: int, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Draw points together with their log-densities, in one pass of a flow.

        The contribution that `decode` returns is the one that `encode` would. Both results are
        reparametrized where the density is (`reparametrized`).

        Args:
            n: number of points, for each row of context where there is context.
            context: (batch, *context_shape), or None for an unconditional density.

        Returns:
            Points (n, *event_shape) and log-densities (n,) in nats, or with context
            (batch, n, *event_shape) and (batch, n).

        Raises:
            ConfigError: the density is known up to a bound only.
            ShapeError: context is missing, superfluous or of the wrong shape.
        """
        check_context(self.context_shape, context)
        if not self.exact:
            raise ConfigError(
                f"{type(self).__name__} gives a lower bound of its density; sample_and_log_prob "
                "takes exact ones, whose `exact` is true."
            )
        if context is None:
            return self.draw_and_score(n)
        rows = context.repeat_interleave(n, 0)
        x, log_prob = self.draw_and_score(len(rows), rows)
        shape = (len(context), n)
        return x.unflatten(0, shape), log_prob.unflatten(0, shape)

    def distribution(self, context: Tensor | None = None) -> DensityDistribution:
        """The density as a `torch.distributions.Distribution`, for one batch of contexts."""
        return DensityDistribution(self, context)

    @torch.no_grad()
    def initialize(self, x: Tensor, context: Tensor | None = None) -> None:
        """Set data-dependent parameters (ActNorm) from a batch; call it once, before training.

        Every layer is reached that scoring the batch reaches: in bases and priors, in densities of
        what layers drop or add, in inverses. What has been set before stays.

        Args:
            x: data, (batch, *event_shape).
            context: (batch, *context_shape), or None.
        """
        self.check(x, context)
        with Starting():
            self.log_prob(x, context)

    def check(self, x: Tensor, context: Tensor | None) -> None:
        """Refuse points and contexts of the wrong shape, or of different numbers.

        Raises:
            ShapeError: says what came and what is expected.
        """
        check_batch(x, self.event_shape, "x")
        check_context(self.context_shape, context, rows=len(x))

    def forward(self, x: Tensor, context: Tensor | None = None) -> Tensor:
        """Same as `log_prob`, so that module hooks and wrappers see the call."""
        return self.log_prob(x, context)


def check_context(shape: Shape | None, context: Tensor | None, *, rows: int | None = None) -> None:
    """Refuse context where none is expected, and the other way round.

    Args:
        shape: shape of what the density is conditioned on, or None.
        context: what came.
        rows: number of points that it comes with; any number by default.

    Raises:
        ShapeError: says which, or that the numbers differ.
    """
    if shape is None:
        if context is not None:
            raise ShapeError("context was given, but the density has no context_shape.")
    elif context is None:
        raise ShapeError(f"context is missing; expected is one of shape (batch, *{shape}).")
    else:
        check_batch(context, shape, "context")
        if rows is not None and len(context) != rows:
            raise ShapeError(
                f"context has {len(context)} rows for {rows} points; expected is one for each."
            )


class DensityDistribution(Distribution):
    """A density with its context filled in, as a `torch.distributions.Distribution`.

    Args:
        density: any density; its parameters stay attached.
        context: (batch, *context_shape), or None. The batch shape is () without context.
    """

    arg_constraints: ClassVar[dict[str, constraints.Constraint]] = {}

    def __init__(self, density: Density, context: Tensor | None = None) -> None:
        check_context(density.context_shape, context)
        self.density = density
        self.context = context
        self.has_rsample = density.reparametrized
        batch = torch.Size() if context is None else context.shape[:1]
        super().__init__(batch, torch.Size(density.event_shape), validate_args=False)

    def log_prob(self, value: Tensor) -> Tensor:
        """Log-density in nats: (*sample, *batch, *event) -> (*sample, *batch)."""
        outer = value.shape[: value.ndim - len(self.event_shape)]
        outer = torch.broadcast_shapes(outer, self.batch_shape)
        context = self.context
        if context is not None:
            context = context.expand(*outer, *context.shape[1:]).flatten(0, len(outer) - 1)
        flat = value.expand(*outer, *self.event_shape).reshape(-1, *self.event_shape)
        return self.density.log_prob(flat, context).reshape(outer)

    def rsample(self, sample_shape: Sequence[int] = ()) -> Tensor:
        """Draw with gradients: (*sample_shape, *batch, *event)."""
        n = int(torch.Size(sample_shape).numel())
        draws = self.density.sample(n, self.context)
        if self.context is not None:
            draws = draws.transpose(0, 1)
        return draws.reshape(*sample_shape, *self.batch_shape, *self.event_shape)
