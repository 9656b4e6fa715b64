"""The contract of a transform: a map from data to latent with its likelihood contribution."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import inf
from typing import Literal

from torch import Tensor, nn

from lightning_flows.errors import ShapeError
from lightning_flows.recipe import Recorded
from lightning_flows.shapes import Shape, as_shape

__all__ = ["POSITIVE", "REAL", "UNIT", "Inverse", "Kind", "Support", "Transform"]

Kind = Literal["bijection", "inference surjection", "generative surjection", "stochastic"]


@dataclass(frozen=True)
class Support:
    """A set of values that every entry of an event lies in.

    Args:
        low: lower end.
        high: upper end.
        discrete: only the integers from `low` up to, not including, `high`.
    """

    low: float = -inf
    high: float = inf
    discrete: bool = False

    def __str__(self) -> str:
        return f"{'integers in ' if self.discrete else ''}[{self.low:g}, {self.high:g})"


REAL = Support()
UNIT = Support(0.0, 1.0)
POSITIVE = Support(0.0)


class Transform(Recorded, nn.Module):
    """A map between data and latent with its likelihood contribution.

    Subclasses implement `encode` (data to latent) and `decode` (latent to data). Both return the
    *same* contribution at the pair (x, z), so that log p(x) = log p_base(z) + contribution in both
    directions. For a bijection it is log|det ∂z/∂x|; for surjections and stochastic maps it is
    the V of SurVAE flows (Nielsen et al. 2020). An implementation keeps no hidden state,
    changes no input in place, and returns contributions of shape (batch,).

    Args:
        event_shape: shape of one data point.
        latent_shape: shape of one latent; `event_shape` unless given.
        context_shape: shape of what the map is conditioned on, or None.
        kind: whether encode and decode are deterministic. Likelihoods are exact where encode is.
        domain: set that data must lie in; None where any set is mapped into itself.
        codomain: set that latents lie in; None where it is the one that data came from.
    """

    def __init__(
        self,
        event_shape: Sequence[int] | int,
        latent_shape: Sequence[int] | int | None = None,
        *,
        context_shape: Sequence[int] | int | None = None,
        kind: Kind = "bijection",
        domain: Support | None = REAL,
        codomain: Support | None = REAL,
    ) -> None:
        super().__init__()
        self.event_shape = as_shape(event_shape)
        self.latent_shape = (
            self.event_shape if latent_shape is None else as_shape(latent_shape, "latent_shape")
        )
        self.context_shape: Shape | None = (
            None if context_shape is None else as_shape(context_shape, "context_shape")
        )
        self.kind: Kind = kind
        self.domain = domain
        self.codomain = codomain

    @property
    def exact(self) -> bool:
        """Whether the contribution gives the likelihood itself and not a lower bound."""
        return self.kind in ("bijection", "inference surjection")

    def encode(self, x: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Map data to latents.

        Args:
            x: data, (batch, *event_shape).
            context: (batch, *context_shape), or None for an unconditional transform.

        Returns:
            Latents (batch, *latent_shape) and contributions (batch,) in nats.
        """
        raise NotImplementedError

    def decode(self, z: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Map latents to data; returns data and the contribution that `encode` gives there."""
        raise NotImplementedError

    def initialise(self, x: Tensor, context: Tensor | None = None) -> None:
        """Set parameters from a batch of data, where the transform asks for it (ActNorm)."""

    def forward(self, x: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Same as `encode`, so that module hooks and wrappers see the call."""
        return self.encode(x, context)


class Inverse(Transform):
    """A bijection walked the other way round: it encodes with `decode`.

    Args:
        transform: the bijection to invert.

    Raises:
        ShapeError: the transform is not a bijection.
    """

    def __init__(self, transform: Transform) -> None:
        if transform.kind != "bijection":
            raise ShapeError(
                f"Inverse needs a bijection; {type(transform).__name__} is a {transform.kind}."
            )
        super().__init__(
            transform.latent_shape,
            transform.event_shape,
            context_shape=transform.context_shape,
            domain=transform.codomain,
            codomain=transform.domain,
        )
        self.transform = transform

    def encode(self, x: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        z, contribution = self.transform.decode(x, context)
        return z, -contribution

    def decode(self, z: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        x, contribution = self.transform.encode(z, context)
        return x, -contribution
