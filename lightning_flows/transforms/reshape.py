"""Bijections that only move entries: reshape, and space to channels."""

from collections.abc import Sequence

from torch import Tensor

from lightning_flows.errors import ShapeError
from lightning_flows.shapes import as_shape, size
from lightning_flows.transforms.base import Transform

__all__ = ["Reshape", "Squeeze"]


class Reshape(Transform):
    """The same entries in another shape.

    Args:
        event_shape: shape of one data point.
        latent_shape: shape of one latent.

    Raises:
        ShapeError: the shapes hold different numbers of entries.
    """

    def __init__(self, event_shape: Sequence[int] | int, latent_shape: Sequence[int] | int) -> None:
        super().__init__(event_shape, latent_shape, domain=None, codomain=None)
        if size(self.event_shape) != size(self.latent_shape):
            raise ShapeError(
                f"event_shape {self.event_shape} and latent_shape {self.latent_shape} "
                "hold different numbers of entries."
            )

    def encode(self, x: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        return x.reshape(-1, *self.latent_shape), x.new_zeros(len(x))

    def decode(self, z: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        return z.reshape(-1, *self.event_shape), z.new_zeros(len(z))


class Squeeze(Transform):
    """Blocks of factor × factor pixels become channels (Dinh et al. 2017, section 3.6).

    Args:
        event_shape: (channels, height, width).
        factor: side of a block; must divide height and width.

    Raises:
        ShapeError: the event is no image, or its sides are not multiples of `factor`.
    """

    def __init__(self, event_shape: Sequence[int] | int, factor: int = 2) -> None:
        shape = as_shape(event_shape)
        if len(shape) != 3 or shape[1] % factor or shape[2] % factor:
            raise ShapeError(
                f"event_shape is {shape}; Squeeze takes (channels, height, width) with height and "
                f"width that are multiples of {factor}."
            )
        channels, height, width = shape
        latent_shape = (channels * factor**2, height // factor, width // factor)
        super().__init__(shape, latent_shape, domain=None, codomain=None)
        self.factor = factor

    def encode(self, x: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        f = self.factor
        blocks = x.unflatten(3, (-1, f)).unflatten(2, (-1, f))  # batch, c, h, f, w, f
        return blocks.permute(0, 1, 3, 5, 2, 4).flatten(1, 3), x.new_zeros(len(x))

    def decode(self, z: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        f = self.factor
        blocks = z.unflatten(1, (self.event_shape[0], f, f))  # batch, c, f, f, h, w
        x = blocks.permute(0, 1, 4, 2, 5, 3).reshape(-1, *self.event_shape)
        return x, z.new_zeros(len(z))
