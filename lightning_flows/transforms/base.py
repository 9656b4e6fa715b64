"""The contract of a transform: a map from data to latent with its likelihood contribution."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn

from lightning_flows.core.errors import ShapeError
from lightning_flows.core.kinds import Kind
from lightning_flows.core.noise import FromGlobalState, Reproducible
from lightning_flows.core.outside import replace_outside
from lightning_flows.core.recipe import Recorded
from lightning_flows.core.shapes import Shape, as_shape, size
from lightning_flows.core.starting import Starting
from lightning_flows.core.support import REAL, Support

__all__ = [
    "Inverse",
    "InverseOf",
    "Transform",
    "encode_inside",
]


class Transform(Recorded, nn.Module):
    """A map between data and latent with its likelihood contribution.

    Subclasses implement `encode` (data to latent) and `decode` (latent to data). Both return the
    *same* contribution at the pair (x, z), so that log p(x) = log p_base(z) + contribution in both
    directions. For a bijection it is log|det ∂z/∂x|; for surjections and stochastic maps it is
    the V of SurVAE flows (Nielsen et al. 2020). An implementation keeps no hidden state,
    changes no input in place, and returns contributions of shape (batch,).

    Args:
        event_shape: shape of one data point.
        latent_shape: shape of one latent; `event_shape` by default.
        context_shape: shape of what the map is conditioned on, or None.
        kind: whether encode and decode are deterministic. Likelihoods are exact where encode is.
        domain: set that data must lie in; None where any set of entries is mapped into itself.
        codomain: set that latents lie in; None where it is the one that data came from.
        volume_preserving: whether the map is a bijection whose contribution is 0 everywhere,
            whatever the parameters are.
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
        volume_preserving: bool = False,
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
        self.volume_preserving = volume_preserving

    @property
    def exact(self) -> bool:
        """Whether the contribution gives the likelihood itself and not a lower bound."""
        return self.kind in ("bijection", "inference surjection")

    @property
    def sequence(self) -> list[Transform]:
        """What it is a sequence of, in the order in which data passes: itself, unless a `Chain`."""
        return [self]

    def encode(self, x: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Map data to latents; what this draws is reproducible in evaluation mode (`core.noise`).

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

    def encode_each(self, x: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Encode, and say how much each entry adds to the contribution.

        Layers that map entries one by one give each its log-slope; unless overridden, all entries
        share alike.

        Returns:
            Latents and parts of the contribution, both (batch, *latent_shape).
        """
        z, contribution = self.encode(x, context)
        share = contribution / size(self.latent_shape)
        return z, share.reshape(-1, *[1] * len(self.latent_shape)).expand(z.shape)

    @torch.no_grad()
    def initialize(self, x: Tensor, context: Tensor | None = None) -> None:
        """Set parameters from a batch of data in every layer that asks for it (ActNorm)."""
        with Starting():
            self.encode(x, context)

    def forward(self, x: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Same as `encode`, so that module hooks and wrappers see the call."""
        return self.encode(x, context)


def encode_inside(
    transform: Transform, x: Tensor, context: Tensor | None = None
) -> tuple[Tensor, Tensor]:
    """Encode data of which some rows may lie outside of the transform's domain.

    Returns:
        Latents and contributions, as `encode` gives them. A row outside has the contribution -inf
        (NaN where it holds a NaN) and the latent of some point inside.
    """
    domain = transform.domain or REAL
    if domain == REAL:
        return transform.encode(x, context)
    safe, inside, outside = replace_outside(domain, x)
    z, contribution = transform.encode(safe, context)
    return z, torch.where(inside, contribution, outside.to(contribution.dtype))


_TURNED: dict[Kind, Kind] = {
    "bijection": "bijection",
    "inference surjection": "generative surjection",
    "generative surjection": "inference surjection",
    "stochastic": "stochastic",
}


class Inverse(Transform):
    """The inverse of a transform: it encodes with `decode`, and its contribution changes sign.

    The inverse of a bijection is a bijection. The inverse of an inference surjection is the
    generative one of the same name, and the other way round: `Inverse(Abs(2))` gives positive
    data random signs, `Inverse(Dequantize(2, 8))` rounds down.

    Args:
        transform: the transform to turn round.
    """

    def __init__(self, transform: Transform) -> None:
        super().__init__(
            transform.latent_shape,
            transform.event_shape,
            context_shape=transform.context_shape,
            kind=_TURNED[transform.kind],
            domain=transform.codomain,
            codomain=transform.domain,
            volume_preserving=transform.volume_preserving,
        )
        self.transform = transform

    def encode(self, x: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        with Reproducible(x, not (self.training or self.exact)):
            z, contribution = self.transform.decode(x, context)
        return z, -contribution

    def decode(self, z: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        with FromGlobalState():
            x, contribution = self.transform.encode(z, context)
        return x, -contribution


class InverseOf(Inverse):
    """The inverse of a layer that is made here: what a config writes for `Inverse`.

    `partial(InverseOf, layer=Softplus)` takes positive data to all reals.

    Args:
        event_shape: shape of one data point.
        layer: makes a transform that keeps the shape, such as `Softplus` or `Sigmoid`.

    Raises:
        ShapeError: the layer changes the shape; write `Inverse(...)` then.
    """

    def __init__(
        self, event_shape: Sequence[int] | int, layer: Callable[[Shape], Transform]
    ) -> None:
        shape = as_shape(event_shape)
        made = layer(shape)
        if made.latent_shape != shape:
            raise ShapeError(
                f"{type(made).__name__} takes {shape} to {made.latent_shape}; "
                "InverseOf needs a layer that keeps the shape."
            )
        super().__init__(made)
