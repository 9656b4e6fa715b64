"""Transforms in sequence, and sequences that factor out half of their channels on the way."""

from collections.abc import Sequence
from itertools import pairwise

import torch
from torch import Tensor, nn

from lightning_flows.core.errors import ShapeError
from lightning_flows.core.kinds import Kind
from lightning_flows.core.noise import Reproducible
from lightning_flows.core.shapes import Shape, size
from lightning_flows.core.support import Support, remedy
from lightning_flows.transforms.base import Transform

__all__ = ["Chain", "Multiscale"]


class Chain(Transform):
    """Transforms in the order in which data passes through them.

    Shapes, contexts and supports of neighbors are checked here, once. Whether the likelihood is
    exact or a lower bound (`exact`), and whether volume is preserved, follows from the parts.

    Args:
        transforms: at least one transform.

    Raises:
        ShapeError: neighbors do not fit; the message names both.
    """

    def __init__(self, transforms: Sequence[Transform]) -> None:
        if not transforms:
            raise ShapeError("Chain needs at least one transform; the list is empty.")
        _check_shapes(transforms)
        domain, codomain = _check_supports(transforms)
        super().__init__(
            transforms[0].event_shape,
            transforms[-1].latent_shape,
            context_shape=_common_context(transforms),
            kind=_common_kind(transforms),
            domain=domain,
            codomain=codomain,
            volume_preserving=all(part.volume_preserving for part in transforms),
        )
        self.transforms = nn.ModuleList(transforms)

    @property
    def sequence(self) -> list[Transform]:
        """The layers of all parts."""
        parts = [part for part in self.transforms if isinstance(part, Transform)]
        return [layer for part in parts for layer in part.sequence]

    def encode(self, x: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        total: Tensor | None = None
        with Reproducible(x, not (self.training or self.exact)):
            for transform in self.transforms:
                x, contribution = transform(x, context)
                total = contribution if total is None else total + contribution
        assert total is not None
        return x, total

    def decode(self, z: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        total: Tensor | None = None
        for transform in reversed(self.transforms):
            assert isinstance(transform, Transform)
            z, contribution = transform.decode(z, context)
            total = contribution if total is None else total + contribution
        assert total is not None
        return z, total


class Multiscale(Transform):
    """Levels of transforms; after each but the last, half of the channels become latent.

    The multi-scale architecture of RealNVP (Dinh et al. 2017, section 3.6). The first dimension
    of an event counts the channels; the first half of them is factored out, the smaller one where
    their number is odd. Latents are flat: what was factored out first comes first.

    Args:
        levels: transforms; the event shape of each is the latent shape of the one before it with
            half of the channels.

    Attributes:
        sizes: number of latents that leave at each level; those of the last one have passed
            through all of them.

    Raises:
        ShapeError: one channel only at a split, or shapes that do not fit.
    """

    def __init__(self, levels: Sequence[Transform]) -> None:
        if not levels:
            raise ShapeError("Multiscale needs at least one level; the list is empty.")
        shapes: list[Shape] = []
        for level, following in pairwise(levels):
            channels, *rest = level.latent_shape
            kept = (channels - channels // 2, *rest)
            if channels < 2 or following.event_shape != kept:
                raise ShapeError(
                    f"{type(level).__name__} gives {level.latent_shape} and keeps half of two "
                    f"channels or more; {type(following).__name__} takes {following.event_shape}."
                )
            shapes.append((channels // 2, *rest))
        for level in levels:
            if not level.codomain == levels[0].codomain:
                raise ShapeError("All levels of Multiscale must have the same codomain.")
        domain, codomain = _check_supports(levels)
        shapes.append(levels[-1].latent_shape)
        sizes = [size(shape) for shape in shapes]
        super().__init__(
            levels[0].event_shape,
            (sum(sizes),),
            context_shape=_common_context(levels),
            kind=_common_kind(levels),
            domain=domain,
            codomain=codomain,
            volume_preserving=all(level.volume_preserving for level in levels),
        )
        self.levels = nn.ModuleList(levels)
        self.sizes = sizes
        self._shapes = shapes

    def encode(self, x: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        latents, total = [], x.new_zeros(len(x))
        with Reproducible(x, not (self.training or self.exact)):
            for level, shape in zip(self.levels, self._shapes, strict=True):
                x, contribution = level(x, context)
                total = total + contribution
                latents.append(x[:, : shape[0]].flatten(1))
                x = x[:, shape[0] :]
        return torch.cat(latents, 1), total

    def decode(self, z: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        pieces = z.split(self.sizes, 1)
        total = z.new_zeros(len(z))
        x: Tensor | None = None
        for level, shape, piece in reversed(
            list(zip(self.levels, self._shapes, pieces, strict=True))
        ):
            assert isinstance(level, Transform)
            piece = piece.unflatten(1, shape)
            x = piece if x is None else torch.cat([piece, x], 1)
            x, contribution = level.decode(x, context)
            total = total + contribution
        assert x is not None
        return x, total


def _check_shapes(transforms: Sequence[Transform]) -> None:
    for previous, transform in pairwise(transforms):
        if previous.latent_shape != transform.event_shape:
            raise ShapeError(
                f"{type(previous).__name__} gives events of shape {previous.latent_shape}; "
                f"{type(transform).__name__}, which follows it, takes {transform.event_shape}."
            )


def _check_supports(transforms: Sequence[Transform]) -> tuple[Support | None, Support | None]:
    """Domain and codomain of the whole; None where every part maps any set into itself."""
    domain = codomain = transforms[0].domain
    previous: Transform | None = None
    for transform in transforms:
        if transform.domain is not None:
            if codomain is None:
                domain = transform.domain
            elif codomain != transform.domain:
                raise ShapeError(
                    f"{type(previous).__name__} gives values in {codomain}; "
                    f"{type(transform).__name__}, which follows it, is defined on "
                    f"{transform.domain}: {remedy(codomain, transform.domain)}."
                )
            codomain = transform.codomain
            previous = transform
        elif codomain is not None and not codomain.entrywise:
            raise ShapeError(
                f"{type(previous).__name__} gives values in {codomain}; "
                f"{type(transform).__name__}, which follows it, would mix its entries: "
                f"{remedy(codomain, None)}."
            )
    return domain, codomain


def _common_context(transforms: Sequence[Transform]) -> Shape | None:
    shapes = {t.context_shape for t in transforms if t.context_shape is not None}
    if len(shapes) > 1:
        raise ShapeError(f"All parts must share one context_shape; came {sorted(shapes)}.")
    return shapes.pop() if shapes else None


def _common_kind(transforms: Sequence[Transform]) -> Kind:
    encode_exact = all(t.kind in ("bijection", "inference surjection") for t in transforms)
    decode_exact = all(t.kind in ("bijection", "generative surjection") for t in transforms)
    if encode_exact:
        return "bijection" if decode_exact else "inference surjection"
    return "generative surjection" if decode_exact else "stochastic"
