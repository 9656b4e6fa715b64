"""The flow of a vector field as a bijection, and densities that such a bijection ends in."""

from typing import Any

import torch
from torch import Tensor

from lightning_flows.bases.base import Density, check_context
from lightning_flows.core.errors import check_least, check_positive
from lightning_flows.core.noise import Divided, Reproducible, uniform_noise
from lightning_flows.core.outside import replace_outside
from lightning_flows.core.shapes import check_batch, size
from lightning_flows.core.starting import Starting
from lightning_flows.core.support import REAL
from lightning_flows.flows.base import Flow
from lightning_flows.flows.ode import integrate
from lightning_flows.jacobians.products import tangents
from lightning_flows.nets.fields import VectorField
from lightning_flows.nets.network import compile_networks
from lightning_flows.transforms import Chain, Transform

__all__ = ["FieldFlow", "Transport"]

_EXACT_UP_TO = 100  # entries of a point, whose divergence is exact by default


class Transport(Transform):
    """Points that follow a vector field: data at time 1, latents at time 0.

    A bijection; its contribution is -∫ div v(x_t, t) dt over the time from 0 to 1 (Chen et al.
    2018, theorem 1). The divergence is exact, by one derivative along each entry, or estimated
    without bias by random signs ε as εᵀ(∂v/∂x)ε, the same signs along the whole path (Hutchinson;
    Grathwohl et al. 2019). In evaluation mode the signs are a hash of the row.

    Args:
        field: the velocity.
        probes: number of vectors of signs for each point, 0 for the exact divergence; by default
            exact up to 100 entries, and one vector beyond.
        steps: number of fixed steps; None adapts them (`integrate`).
        tolerance: of adaptive steps.

    Raises:
        ConfigError: a number out of range.
    """

    def __init__(
        self,
        field: VectorField,
        *,
        probes: int | None = None,
        steps: int | None = None,
        tolerance: float = 1e-5,
    ) -> None:
        super().__init__(field.event_shape, context_shape=field.context_shape)
        check_least(0, probes=probes)
        check_least(1, steps=steps)
        check_positive(tolerance=tolerance)
        self.field = field
        few = size(self.event_shape) <= _EXACT_UP_TO
        self.probes = (0 if few else 1) if probes is None else probes
        self.steps = steps
        self.tolerance = tolerance

    def encode(self, x: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        check_batch(x, self.event_shape, "x")
        safe, inside, outside = replace_outside(REAL, x)
        z, contribution = self._scored(safe, context, 1.0, 0.0)
        # a path that leaves the finite numbers begins at no latent that has a density
        reached = z.isfinite().flatten(1).all(1)
        contribution = torch.where(inside & reached, contribution, outside.to(contribution))
        return torch.where(reached.reshape(-1, *[1] * (z.ndim - 1)), z, 0.0), contribution

    def decode(self, z: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        check_batch(z, self.event_shape, "z")
        x, divergence = self._scored(z, context, 0.0, 1.0)
        return x, -divergence

    def move(self, x: Tensor, context: Tensor | None = None, *, start: float, end: float) -> Tensor:
        """Where points are at another time, without their divergence.

        Args:
            x: points at time `start`, (batch, *event_shape).
            context: (batch, *context_shape), or None.
            start: their time.
            end: the other time.

        Returns:
            (batch, *event_shape).
        """
        wide = x.to(torch.promote_types(x.dtype, torch.float32))
        y = self._integrate(
            lambda t, y: self._velocity(y.reshape(x.shape), t, context).flatten(1),
            wide.flatten(1),
            start,
            end,
        )
        return y.reshape(x.shape).to(x.dtype)

    def _scored(
        self, x: Tensor, context: Tensor | None, start: float, end: float
    ) -> tuple[Tensor, Tensor]:
        """Points at time `end`, and the integral of the divergence on the way: (batch,)."""
        wide = x.to(torch.promote_types(x.dtype, torch.float32))
        with Reproducible(x, not self.training):
            directions = self._directions(wide)

        def rate(t: Tensor, y: Tensor) -> Tensor:
            v, derivatives = tangents(
                lambda x: self._velocity(x, t, context),
                y[:, :-1].reshape(x.shape),
                directions,
                graph=torch.is_grad_enabled(),
            )
            divergence = (directions * derivatives).flatten(2).sum((0, 2)) / max(self.probes, 1)
            return torch.cat([v.flatten(1), divergence[:, None]], 1)

        state = torch.cat([wide.flatten(1), wide.new_zeros(len(x), 1)], 1)
        state = self._integrate(rate, state, start, end)
        return state[:, :-1].reshape(x.shape).to(x.dtype), state[:, -1].to(x.dtype)

    def _directions(self, x: Tensor) -> Tensor:
        """Vectors along which the field is differentiated, (k, batch, *event_shape)."""
        if self.probes:
            shape = (len(x), self.probes, *self.event_shape)
            return (2.0 * (uniform_noise(shape, x) < 0.5).to(x) - 1.0).transpose(0, 1)
        entries = size(self.event_shape)
        basis = torch.eye(entries, dtype=x.dtype, device=x.device)
        return basis.view(entries, 1, *self.event_shape).expand(-1, *x.shape)

    def _velocity(self, x: Tensor, t: Tensor, context: Tensor | None) -> Tensor:
        """In the precision of the points, through a field of its own precision."""
        like = next(self.field.parameters(), x)
        given = None if context is None else context.to(like.dtype)
        v: Tensor = self.field(x.to(like.dtype), t.to(like.dtype), given)
        return v.to(x.dtype)

    def _integrate(self, rate: Any, y: Tensor, start: float, end: float) -> Tensor:
        return integrate(rate, y, start, end, steps=self.steps, tolerance=self.tolerance)


class FieldFlow(Flow):
    """Density of data to which a vector field leads noise; the last of its transforms does.

    Latents and samples are had without the divergence. Where that is estimated by probes,
    `log_prob` is an estimate without bias of what it says, the log-density or a lower bound; its
    exponential is none of the density, so that importance weights of it are wrong.

    Subclasses implement `endpoints`.

    Args:
        transport: from the data, or from what `lift` makes of it, to noise.
        base: density of the noise; standard normal by default.
        lift: from the data to what the field moves, without context, or None.
    """

    def __init__(
        self, transport: Transport, base: Density | None = None, lift: Transform | None = None
    ) -> None:
        super().__init__(transport if lift is None else Chain([lift, transport]), base)

    @property
    def transport(self) -> Transport:
        """What leads noise to data."""
        part = self.transform.transforms[1] if isinstance(self.transform, Chain) else self.transform
        assert isinstance(part, Transport)
        return part

    @property
    def field(self) -> VectorField:
        """The velocity."""
        return self.transport.field

    @property
    def _lift(self) -> Transform | None:
        if not isinstance(self.transform, Chain):
            return None
        lift = self.transform.transforms[0]
        assert isinstance(lift, Transform)
        return lift

    def endpoints(self, x: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Noise at time 0, and where a straight path leads each of it at time 1, for training.

        Args:
            x: data, (batch, *event_shape).
            context: (batch, *context_shape), or None.

        Returns:
            Two of (batch, *transport.event_shape).
        """
        raise NotImplementedError

    def encode(self, x: Tensor, context: Tensor | None = None) -> Tensor:
        self.check(x, context)
        if self._lift is not None:
            with self._noise_of(x):
                x = self._lift(x)[0]
        return self.transport.move(x, context, start=1.0, end=0.0)

    def decode(self, z: Tensor, context: Tensor | None = None) -> Tensor:
        check_batch(z, self.latent_shape, "z")
        check_context(self.context_shape, context, rows=len(z))
        x = self.transport.move(z, context, start=0.0, end=1.0)
        return x if self._lift is None else self._lift.decode(x)[0]

    def draw(self, n: int, context: Tensor | None = None, temperature: float = 1.0) -> Tensor:
        return self.decode(self.base.draw(n, self._base_context(context), temperature), context)

    def estimate(
        self, x: Tensor, context: Tensor | None = None, *, draws: int = 16
    ) -> tuple[Tensor, Tensor]:
        """Mean of several draws of `log_prob`, and its standard error.

        Args:
            x: points, (batch, *event_shape).
            context: (batch, *context_shape), or None.
            draws: number of them, at least 2.

        Returns:
            Two of (batch,), nats; errors are zero where nothing is drawn.

        Raises:
            ConfigError: fewer than two draws.
        """
        check_least(2, draws=draws)
        scores = self._drawn(x, context, draws)
        return scores.mean(1), scores.std(1) / draws**0.5

    @torch.no_grad()
    def initialize(self, x: Tensor, context: Tensor | None = None) -> None:
        self.check(x, context)
        with Starting():  # not by log_prob: the divergence calls the field under torch.func
            self.base.log_prob(self.encode(x, context), self._base_context(context))

    def compile(self, *args: Any, **options: Any) -> None:
        """Compile the networks inside; derivatives are taken through what surrounds them.

        Args:
            args: those of `torch.compile`.
            options: those of `torch.compile`.
        """
        compile_networks(self, *args, **options)

    def _drawn(self, x: Tensor, context: Tensor | None, draws: int) -> Tensor:
        """Log-densities of several draws of all noise: (batch, draws)."""
        self.check(x, context)
        rows = x.repeat_interleave(draws, 0)
        given = None if context is None else context.repeat_interleave(draws, 0)
        with self._noise_of(x), Divided(draws):
            scores: Tensor = Flow.log_prob(self, rows, given).unflatten(0, (len(x), draws))
        return scores

    def _noise_of(self, x: Tensor) -> Reproducible:
        drawn = not self.exact or self.transport.probes > 0
        return Reproducible(x, drawn and not self.training)
