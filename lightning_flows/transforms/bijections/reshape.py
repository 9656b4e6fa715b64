"""Moving entries: reshape, space to channels, and one map at every position."""

from collections.abc import Sequence
from typing import TypeVar

from torch import Tensor

from lightning_flows.core.errors import ShapeError
from lightning_flows.core.noise import Divided, Reproducible
from lightning_flows.core.shapes import as_shape, size
from lightning_flows.transforms.base import Transform

_Maybe = TypeVar("_Maybe", Tensor, None, Tensor | None)

__all__ = ["PerPosition", "Reshape", "Squeeze"]


class Reshape(Transform):
    """The same entries in another shape.

    Args:
        event_shape: shape of one data point.
        latent_shape: shape of one latent.

    Raises:
        ShapeError: the shapes hold different numbers of entries.
    """

    def __init__(self, event_shape: Sequence[int] | int, latent_shape: Sequence[int] | int) -> None:
        super().__init__(
            event_shape, latent_shape, domain=None, codomain=None, volume_preserving=True
        )
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
        super().__init__(shape, latent_shape, domain=None, codomain=None, volume_preserving=True)
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


class PerPosition(Transform):
    """One map of vectors at every position of an image: the channels of a pixel are its event.

    Context is an image of the same height and width, whose channels condition the map.

    Args:
        transform: map of vectors.
        positions: the event shape after its first entry, such as (height, width).

    Raises:
        ShapeError: the transform, or its context, is not one of vectors.
    """

    def __init__(self, transform: Transform, positions: Sequence[int] | int) -> None:
        positions = as_shape(positions, "positions")
        context = transform.context_shape
        shapes = transform.event_shape, transform.latent_shape, context or (1,)
        if any(len(shape) > 1 for shape in shapes):
            raise ShapeError(
                f"PerPosition takes maps of vectors; {type(transform).__name__} maps "
                f"{transform.event_shape} to {transform.latent_shape} with context {context}."
            )
        super().__init__(
            (*transform.event_shape, *positions),
            (*transform.latent_shape, *positions),
            context_shape=None if context is None else (*context, *positions),
            kind=transform.kind,
            domain=transform.domain,
            codomain=transform.codomain,
            volume_preserving=transform.volume_preserving,
        )
        self.transform = transform

    def encode(self, x: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        drawn = Reproducible(x, not (self.training or self.exact))
        with drawn, Divided(size(self.event_shape[1:])):
            rows, contribution = self.transform(self._rows(x), self._rows(context))
        return self._spread(rows, contribution, len(x))

    def decode(self, z: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        rows, contribution = self.transform.decode(self._rows(z), self._rows(context))
        return self._spread(rows, contribution, len(z))

    def _rows(self, x: _Maybe) -> _Maybe:
        """(batch, channels, *positions) -> (batch · positions, channels)."""
        return x if x is None else x.flatten(2).transpose(1, 2).flatten(0, 1)

    def _spread(self, rows: Tensor, contribution: Tensor, batch: int) -> tuple[Tensor, Tensor]:
        """Rows back to images of this batch size; contributions summed over positions."""
        positions = self.event_shape[1:]
        channels = rows.unflatten(0, (batch, size(positions))).transpose(1, 2)
        image = channels.unflatten(2, positions)
        return image, contribution.unflatten(0, (batch, size(positions))).sum(1)
