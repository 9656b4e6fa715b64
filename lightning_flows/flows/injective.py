"""Injective flows: fewer latents than data dimensions."""

from collections.abc import Callable, Sequence
from functools import partial

import torch
from torch import Tensor
from torch.nn import functional as F

from lightning_flows.bases.base import Density
from lightning_flows.errors import ConfigError, ShapeError
from lightning_flows.flows.assemble import BaseFactory
from lightning_flows.flows.base import Flow
from lightning_flows.flows.coupling import RealNVP
from lightning_flows.jacobians.volume import log_volume
from lightning_flows.shapes import Shape, as_shape, check_batch, size

__all__ = ["PaddedFlow"]


class PaddedFlow(Density):
    """A manifold in data space with a density on it: ambient bijection ∘ pad ∘ latent flow.

    The map of rectangular flows (Caterini et al. 2021, section 2). A point z of the latent becomes
    coordinates u = h(z) of dimension d, is padded with zeros to dimension D, and goes through
    the inverse of a bijection g of data space. `project` undoes that: it takes d entries of
    g(x). It is a left inverse, not the orthogonal projection.

    Args:
        event_shape: shape of one data point; D is its number of entries.
        latent_features: dimension d of the manifold; half of D unless given.
        ambient: makes the flow whose transform is the bijection g; RealNVP unless given.
        prior: makes the density of the coordinates u; a small RealNVP unless given.
        seed: seed of the choice of the d entries, so that all processes choose alike.
        context_shape: shape of what the density on the manifold is conditioned on.

    Raises:
        ConfigError: d is not between 1 and D - 1.
        ShapeError: the ambient flow has another number of latents than D.
    """

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
        super().__init__(event_shape, context_shape)
        n = size(self.event_shape)
        d = n // 2 if latent_features is None else latent_features
        if not 1 <= d < n:
            raise ConfigError(
                f"latent_features is {d}; data has {n} dimensions, so accepted are 1 to {n - 1}."
            )
        ambient = RealNVP if ambient is None else ambient
        prior = partial(RealNVP, layers=4, hidden=(64, 64)) if prior is None else prior
        self.ambient = ambient(self.event_shape).transform
        if size(self.ambient.latent_shape) != n or self.ambient.kind != "bijection":
            raise ShapeError(f"ambient must be a bijection of {n} dimensions.")
        self.prior = (
            prior((d,))
            if context_shape is None
            else prior((d,), context_shape=as_shape(context_shape))  # type: ignore[call-arg]
        )
        order = torch.randperm(n, generator=torch.Generator().manual_seed(seed))
        self.register_buffer("slots", order[:d])
        self.register_buffer("order", order.argsort())
        self.manifold_shape: Shape = (d,)
        self.latent_shape: Shape = getattr(self.prior, "latent_shape", (d,))

    @property
    def exact(self) -> bool:
        """Whether `log_prob` is the log-density on the manifold itself."""
        return bool(getattr(self.prior, "exact", True))

    def project(self, x: Tensor) -> Tensor:
        """Coordinates on the manifold: (batch, *event_shape) -> (batch, d)."""
        check_batch(x, self.event_shape, "x")
        u: Tensor = self.ambient(x)[0].flatten(1)
        return u.index_select(1, self.slots)

    def embed(self, u: Tensor) -> Tensor:
        """Points of the manifold: (batch, d) -> (batch, *event_shape)."""
        check_batch(u, self.manifold_shape, "u")
        padded = F.pad(u, (0, len(self.order) - u.shape[1])).index_select(1, self.order)
        x: Tensor = self.ambient.decode(padded.reshape(-1, *self.ambient.latent_shape))[0]
        return x

    def encode(self, x: Tensor, context: Tensor | None = None) -> Tensor:
        """Latents of the projections of data: (batch, *event_shape) -> (batch, *latent_shape)."""
        self.check(x, context)
        u = self.project(x)
        return self.prior.encode(u, context) if isinstance(self.prior, Flow) else u

    def decode(self, z: Tensor, context: Tensor | None = None) -> Tensor:
        """Points of the manifold: (batch, *latent_shape) -> (batch, *event_shape)."""
        check_batch(z, self.latent_shape, "z")
        u = self.prior.decode(z, context) if isinstance(self.prior, Flow) else z
        return self.embed(u)

    def log_prob(self, x: Tensor, context: Tensor | None = None) -> Tensor:
        """Log-density at the projection of x with respect to d-dimensional volume.

        The volume is exact, and so is its gradient; the strategies of `jacobians.volume` are
        cheaper in training.

        Returns:
            (batch,), nats. It says nothing about how far x lies from the manifold.
        """
        self.check(x, context)
        u = self.project(x)
        return self.prior.log_prob(u, context) - log_volume(self.embed, u)

    def draw(self, n: int, context: Tensor | None = None, temperature: float = 1.0) -> Tensor:
        return self.embed(self.prior.draw(n, context, temperature))

    def initialise(self, x: Tensor, context: Tensor | None = None) -> None:
        """Set data-dependent parameters (ActNorm) from a batch; call it once, before training."""
        self.check(x, context)
        self.ambient.initialise(x)
        if isinstance(self.prior, Flow):
            self.prior.initialise(self.project(x), context)
