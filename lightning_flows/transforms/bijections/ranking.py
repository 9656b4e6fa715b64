"""Which entries add most to the likelihood, and an order that puts them first."""

from collections.abc import Sequence
from typing import Literal

import torch
from torch import Tensor

from lightning_flows.core.errors import ConfigError
from lightning_flows.core.shapes import as_shape, check_batch, size
from lightning_flows.transforms.base import Transform
from lightning_flows.transforms.bijections.linear import LULinear, Orthogonal
from lightning_flows.transforms.bijections.reshape import Squeeze
from lightning_flows.transforms.chain import Chain

__all__ = ["Ranking", "entry_contributions"]


class Ranking(Transform):
    """Puts entries in the order of a score, so that a `Multiscale` factors out the first half.

    A bijection that only moves entries. `rank` fills the order, which is a buffer. The entries of
    a vector are ranked among each other. An image is squeezed: each block of 2 x 2 pixels becomes
    four channels, as in `Squeeze`, but the four pixels of a block are ranked among each other, so
    that neighbors stay neighbors, and the first channels hold all that came first. Until it is
    ranked, a vector keeps its order, and the first half of an image is a checkerboard.

    Args:
        event_shape: (features,), or (channels, height, width) with even sides.
        early: whether entries of high or of low score come first, and so leave early.

    Attributes:
        ranked: whether `rank` has been called, a boolean scalar.

    Raises:
        ConfigError: `early` is neither high nor low.
        ShapeError: neither a vector nor an image with even sides.
    """

    order: Tensor
    inverse: Tensor
    ranked: Tensor

    def __init__(
        self, event_shape: Sequence[int] | int, *, early: Literal["high", "low"] = "high"
    ) -> None:
        if early not in ("high", "low"):
            raise ConfigError(f"early is {early!r}; accepted are 'high' and 'low'.")
        shape = as_shape(event_shape)
        latent_shape = shape if len(shape) == 1 else Squeeze(shape).latent_shape
        super().__init__(shape, latent_shape, domain=None, codomain=None, volume_preserving=True)
        self.early = early
        groups = self._groups(torch.arange(size(shape)).reshape(shape))
        if len(shape) == 3:
            groups = groups[[0, 3, 1, 2]]  # one diagonal of each block, then the other
        self.register_buffer("order", groups.flatten())
        self.register_buffer("inverse", torch.argsort(self.order))
        self.register_buffer("ranked", torch.tensor(False))

    @torch.no_grad()
    def rank(self, scores: Tensor) -> None:
        """Set the order.

        Args:
            scores: a number for each entry, event_shape.

        Raises:
            ShapeError: scores of another shape.
        """
        check_batch(scores[None], self.event_shape, "scores")
        places = torch.arange(scores.numel(), device=scores.device).reshape(self.event_shape)
        order = self._groups(scores).argsort(dim=0, descending=self.early == "high", stable=True)
        self.order.copy_(self._groups(places).gather(0, order).flatten())
        self.inverse.copy_(torch.argsort(self.order))
        self.ranked.fill_(True)

    def encode(self, x: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        moved = x.flatten(1).index_select(1, self.order)
        return moved.reshape(-1, *self.latent_shape), x.new_zeros(len(x))

    def decode(self, z: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        moved = z.flatten(1).index_select(1, self.inverse)
        return moved.reshape(-1, *self.event_shape), z.new_zeros(len(z))

    def _groups(self, values: Tensor) -> Tensor:
        """What is ranked among each other, along the first dimension: (members, groups)."""
        if len(self.event_shape) == 1:
            return values[:, None]
        channels, height, width = self.event_shape
        blocks = values.reshape(channels, height // 2, 2, width // 2, 2)
        return blocks.permute(2, 4, 0, 1, 3).reshape(4, -1)


def entry_contributions(
    transform: Transform, x: Tensor, context: Tensor | None = None, carried: Tensor | None = None
) -> tuple[Tensor, Tensor]:
    """Encode, and say how much each entry has added to the contribution on its way.

    Couplings, autoregressive layers, ActNorm and element-wise affine maps give each entry its
    log-slope. What only moves entries takes their contributions along. A linear map that mixes
    channels leaves nothing of them apart: at each position its channels share alike what they
    have added before, and its own log-determinant goes to all entries alike, as does the
    contribution of any other layer. All entries together make the contribution of `encode`.

    Args:
        transform: a bijection that keeps the number of entries.
        x: data, (batch, *event_shape).
        context: (batch, *context_shape), or None.
        carried: contributions of layers before, (batch, *event_shape); zero by default.

    Returns:
        Latents and contributions in nats, both (batch, *latent_shape).

    Raises:
        ConfigError: a layer adds or drops entries, or is random.
    """
    carried = torch.zeros_like(x) if carried is None else carried
    if isinstance(transform, Chain):
        for part in transform.transforms:
            assert isinstance(part, Transform)
            x, carried = entry_contributions(part, x, context, carried)
        return x, carried
    moves = transform.domain is None
    if transform.kind != "bijection" or not (
        moves or transform.event_shape == transform.latent_shape
    ):
        raise ConfigError(
            f"{type(transform).__name__} does not lead each entry to one entry; contributions "
            "cannot be followed through it."
        )
    if moves:
        return transform.encode(x, context)[0], transform.encode(carried, context)[0]
    if isinstance(transform, LULinear | Orthogonal):
        carried = carried.mean(1, keepdim=True).expand(x.shape)
    z, each = transform.encode_each(x, context)
    return z, carried + each
