"""Injective flows: fewer latents than data dimensions."""

import math
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from lightning_flows.bases.base import Density, check_context
from lightning_flows.core.errors import ConfigError, ShapeError
from lightning_flows.core.kinds import Kind
from lightning_flows.core.outside import log_prob_inside
from lightning_flows.core.recipe import factory_target
from lightning_flows.core.shapes import Shape, as_shape, check_batch, size, sum_event
from lightning_flows.core.signatures import takes
from lightning_flows.core.starting import Starting
from lightning_flows.core.support import REAL, Measure
from lightning_flows.flows.assemble import BaseFactory
from lightning_flows.flows.base import Flow
from lightning_flows.flows.coupling import RealNVP
from lightning_flows.jacobians.log_volume import log_diagonal, log_volume, triangle
from lightning_flows.jacobians.products import Map, cotangents
from lightning_flows.nets.network import compile_networks
from lightning_flows.transforms import Multiscale, Transform

__all__ = ["InjectiveFlow", "PaddedFlow"]


class InjectiveFlow(Density):
    """A d-dimensional manifold in data space with a density on it.

    `project` takes data to coordinates u on the manifold, `embed` takes them back, and `prior` is
    the density of u; where the prior is a flow itself, `encode` and `decode` go through it to its
    latent. Subclasses implement `project` and `embed`.

    Args:
        event_shape: shape of one data point; D is its number of entries.
        latent_features: dimension d of the manifold; half of D by default.
        prior: makes the density of the coordinates u; a small RealNVP by default.
        context_shape: shape of what the density on the manifold is conditioned on.

    Raises:
        ConfigError: d is not between 1 and D - 1, or D where `full` dimension is possible.
        ShapeError: the prior has another shape, or does not live on all reals.
    """

    full = False
    """Whether d = D is possible."""

    left_inverse = False
    """Whether `project` undoes `embed` by construction, whatever the weights are."""

    moves_with_context = False
    """Whether the manifold depends on context, so that `project` and `embed` take it."""

    def __init__(
        self,
        event_shape: Sequence[int] | int,
        *,
        latent_features: int | None = None,
        prior: BaseFactory | None = None,
        context_shape: Sequence[int] | int | None = None,
    ) -> None:
        super().__init__(event_shape, context_shape)
        n = size(self.event_shape)
        d = max(n // 2, 1) if latent_features is None else latent_features
        largest = n if self.full else n - 1
        if not 1 <= d <= largest:
            raise ConfigError(
                f"latent_features is {d}; data has {n} dimensions, so accepted are 1 to {largest}."
            )
        make: Callable[..., Density] = partial(RealNVP, layers=4, hidden=(64, 64))
        make = make if prior is None else prior
        conditioned = {} if context_shape is None else {"context_shape": as_shape(context_shape)}
        if conditioned and not takes(make, "context_shape"):
            raise ConfigError(
                f"prior {factory_target(make).__name__} takes no context_shape; the flow is "
                "conditioned, so accepted are densities that take one, such as RealNVP."
            )
        self.prior = make((d,), **conditioned)
        if self.prior.event_shape != (d,) or self.prior.support != REAL:
            raise ShapeError(
                f"prior {type(self.prior).__name__} scores events of shape "
                f"{self.prior.event_shape} in {self.prior.support}; accepted are densities of the "
                f"manifold's coordinates, which have shape {(d,)} and lie in {REAL}."
            )
        self.manifold_shape = (d,)
        self.latent_shape = self.prior.latent_shape

    @property
    def exact(self) -> bool:
        """Whether `log_prob` is the log-density on the manifold itself."""
        return self.prior.exact

    @property
    def kind(self) -> Kind:
        return self.prior.kind

    @property
    def reparametrized(self) -> bool:
        return self.prior.reparametrized

    @property
    def measure(self) -> Measure:
        """Volume of the manifold, at the projection of the data."""
        return "Riemannian volume"

    def project(self, x: Tensor) -> Tensor:
        """Coordinates on the manifold: (batch, *event_shape) -> (batch, d)."""
        raise NotImplementedError

    def embed(self, u: Tensor) -> Tensor:
        """Points of the manifold: (batch, d) -> (batch, *event_shape)."""
        raise NotImplementedError

    def chart(self, context: Tensor | None = None) -> tuple[Map, Map]:
        """`project` and `embed` under a batch of contexts, which only some manifolds depend on."""
        return self.project, self.embed

    def encode(self, x: Tensor, context: Tensor | None = None) -> Tensor:
        """Latents of the projections of data: (batch, *event_shape) -> (batch, *latent_shape)."""
        self.check(x, context)
        project, _ = self.chart(context)
        return self.prior.encode(project(x), context)

    def decode(self, z: Tensor, context: Tensor | None = None) -> Tensor:
        """Points of the manifold: (batch, *latent_shape) -> (batch, *event_shape)."""
        check_batch(z, self.latent_shape, "z")
        check_context(self.context_shape, context, rows=len(z))
        _, embed = self.chart(context)
        return embed(self.prior.decode(z, context))

    def log_prob(self, x: Tensor, context: Tensor | None = None) -> Tensor:
        """Log-density at the projection of x with respect to d-dimensional volume.

        The volume is exact, and so is its gradient; the strategies of `objectives.volume` are
        cheaper in training.

        Returns:
            (batch,), nats. It says nothing about how far x lies from the manifold.
        """
        self.check(x, context)
        project, embed = self.chart(context)

        def inside(x: Tensor) -> Tensor:
            u = project(x)
            return self.prior.log_prob(u, context) - log_volume(embed, u)

        return log_prob_inside(self.support, x, inside)

    def ambient_log_prob(self, x: Tensor, context: Tensor | None = None, *, beta: float) -> Tensor:
        """Log-density of x in data space itself, as far as its mass is 1.

        log p_prior(u) + ½ log det P Pᵀ + (D - d)/2 log(β/π) - β‖x - embed(u)‖², with P the
        Jacobian of `project` at x: the residual is Gaussian with variance 1/(2β). Where every
        fibre of `project` is flat and passes through its embed(u), it integrates to 1; fibres that
        miss that point lose mass, and curved ones have more or less. `metrics.log_mass` finds
        how much in a few dimensions. Only with mass 1 may it be compared with flows of full
        dimension.

        Args:
            x: data, (batch, *event_shape).
            context: (batch, *context_shape), or None.
            beta: weight of the reconstruction that the flow was trained with.

        Returns:
            (batch,), nats.
        """
        self.check(x, context)
        d, n = self.manifold_shape[0], size(self.event_shape)
        project, embed = self.chart(context)

        def inside(x: Tensor) -> Tensor:
            basis = torch.eye(d, dtype=x.dtype, device=x.device)[:, None].expand(-1, len(x), -1)
            u, rows = cotangents(project, x, basis)
            volume = log_diagonal(triangle(rows.flatten(2).permute(1, 2, 0)), n)
            residual = sum_event((x - embed(u)).square())
            scale = 0.5 * (n - d) * math.log(beta / math.pi)
            return self.prior.log_prob(u, context) + volume + scale - beta * residual

        return log_prob_inside(self.support, x, inside)

    def compile(self, *args: Any, **options: Any) -> None:
        """Compile the networks inside; derivatives are taken through what surrounds them.

        Args:
            args: those of `torch.compile`.
            options: those of `torch.compile`.
        """
        compile_networks(self, *args, **options)

    def draw(self, n: int, context: Tensor | None = None, temperature: float = 1.0) -> Tensor:
        _, embed = self.chart(context)
        return embed(self.prior.draw(n, context, temperature))

    @torch.no_grad()
    def initialize(self, x: Tensor, context: Tensor | None = None) -> None:
        self.check(x, context)
        project, embed = self.chart(context)
        with Starting():  # not by log_prob: the volume calls the decoder under torch.func
            u = project(x)
            self.prior.log_prob(u, context)
            embed(u)


class PaddedFlow(InjectiveFlow):
    """Ambient bijection ∘ pad ∘ latent flow (rectangular flows, Caterini et al. 2021, section 2).

    A point z of the latent becomes coordinates u = h(z) of dimension d, is padded with zeros to
    dimension D, and goes through the inverse of a bijection g of data space. `project` undoes
    that: it takes d entries of g(x). It is a left inverse, not the orthogonal projection.

    The d entries are drawn at random. Where g is multi-scale (`Glow`), they are drawn among those
    that pass through all levels, as in the paper, and only where these are too few also among
    those that leave one level earlier, and so on.

    Args:
        event_shape: shape of one data point; D is its number of entries.
        latent_features: dimension d of the manifold; half of D by default.
        ambient: makes the flow whose transform is the bijection g; RealNVP with `mixing="lu"`
            by default. Without mixing the entries that are set to zero are the same columns of
            the data for good, up to what the couplings add to them: data of few columns may then
            have no place on the manifold, whatever is learned.
        prior: makes the density of the coordinates u; a small RealNVP by default.
        seed: seed of the choice of the d entries, so that all processes choose alike.
        context_shape: shape of what the density on the manifold is conditioned on.

    Raises:
        ConfigError: d is not between 1 and D - 1.
        ShapeError: the ambient flow has another number of latents than D.
    """

    left_inverse = True

    slots: Tensor
    order: Tensor

    def __init__(
        self,
        event_shape: Sequence[int] | int,
        *,
        latent_features: int | None = None,
        ambient: Callable[[Shape], Flow] | None = None,
        prior: BaseFactory | None = None,
        seed: int = 0,
        context_shape: Sequence[int] | int | None = None,
    ) -> None:
        super().__init__(
            event_shape, latent_features=latent_features, prior=prior, context_shape=context_shape
        )
        n, d = size(self.event_shape), self.manifold_shape[0]
        ambient = partial(RealNVP, mixing="lu") if ambient is None else ambient
        self.ambient = ambient(self.event_shape).transform
        if size(self.ambient.latent_shape) != n or self.ambient.kind != "bijection":
            raise ShapeError(f"ambient must be a bijection of {n} dimensions.")
        if self.ambient.codomain not in (None, REAL):
            raise ShapeError(
                f"ambient gives values in {self.ambient.codomain}; accepted are bijections onto "
                "all reals, as zeros and the coordinates of the manifold take their place."
            )
        self.support = self.ambient.domain or REAL
        order = _entries(self.ambient, torch.Generator().manual_seed(seed))
        self.register_buffer("slots", order[:d])
        self.register_buffer("order", order.argsort())

    def project(self, x: Tensor) -> Tensor:
        check_batch(x, self.event_shape, "x")
        u: Tensor = self.ambient(x)[0].flatten(1)
        return u.index_select(1, self.slots)

    def off_manifold_log_prob(
        self, x: Tensor, context: Tensor | None = None, *, scale: Tensor | float
    ) -> Tensor:
        """Log-density of data space of mass 1: log p_prior(u) + log N(v; 0, τ²I) + log|det ∂g/∂x|.

        u are the d entries of g(x) that `project` takes, and v the D - d others, which are zero on
        the manifold.

        Args:
            x: data, (batch, *event_shape).
            context: (batch, *context_shape), or None.
            scale: the standard deviation τ, one number or one for each of the D - d entries.

        Returns:
            (batch,), nats.
        """
        self.check(x, context)

        def inside(x: Tensor) -> Tensor:
            latent, log_det = self.ambient(x)
            places = self.order.argsort()
            u, v = latent.flatten(1)[:, places].tensor_split([self.manifold_shape[0]], dim=1)
            tau = torch.as_tensor(scale, dtype=v.dtype, device=v.device).expand(v.shape[1])
            normal = 0.5 * (v / tau).square() + tau.log() + 0.5 * math.log(2 * math.pi)
            total: Tensor = self.prior.log_prob(u, context) - normal.sum(1) + log_det
            return total

        return log_prob_inside(self.support, x, inside)

    def embed(self, u: Tensor) -> Tensor:
        check_batch(u, self.manifold_shape, "u")
        padded = F.pad(u, (0, len(self.order) - u.shape[1])).index_select(1, self.order)
        x: Tensor = self.ambient.decode(padded.reshape(len(u), *self.ambient.latent_shape))[0]
        return x


def _entries(ambient: Transform, generator: torch.Generator) -> Tensor:
    """Places of all latents, those of the last level first, each level in random order."""
    sizes = ambient.sizes if isinstance(ambient, Multiscale) else [size(ambient.latent_shape)]
    levels = torch.arange(sum(sizes)).split(sizes)
    return torch.cat([x[torch.randperm(len(x), generator=generator)] for x in reversed(levels)])
