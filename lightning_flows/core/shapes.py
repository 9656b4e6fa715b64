"""Shapes as a contract: what is checked at every public door, and how it is said."""

import math
from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from lightning_flows.core.errors import ShapeError

__all__ = [
    "Shape",
    "as_features",
    "as_shape",
    "check_batch",
    "join",
    "joined_shape",
    "size",
    "sum_event",
]

Shape = tuple[int, ...]


def as_shape(shape: Sequence[int] | int, name: str = "event_shape") -> Shape:
    """Turn `2`, or a sequence or array such as `[1, 28, 28]`, into a tuple of positive integers.

    Raises:
        ShapeError: an entry is not a positive integer.
    """
    plain = shape.tolist() if isinstance(shape, np.ndarray | np.generic) else shape
    entries = tuple(plain) if isinstance(plain, Sequence) else (plain,)
    if not entries or any(not _is_length(n) for n in entries):
        raise ShapeError(
            f"{name} is {shape!r}; accepted are positive integers such as (1, 28, 28)."
        )
    return tuple(int(n) for n in entries)


def as_features(shape: Sequence[int] | int, what: str) -> int:
    """Number of entries of a vector, from `4` or `(4,)`.

    Args:
        shape: shape of one data point, or its number of entries.
        what: name of what takes vectors only.

    Raises:
        ShapeError: events are no vectors.
    """
    shape = as_shape(shape)
    if len(shape) != 1:
        raise ShapeError(
            f"event_shape is {shape}; {what} takes vectors, (features,): put Reshape before it."
        )
    return shape[0]


def _is_length(n: object) -> bool:
    return isinstance(n, int | np.integer) and not isinstance(n, bool) and bool(n > 0)


def size(shape: Shape) -> int:
    """Number of dimensions of a vector that holds an event of this shape."""
    return math.prod(shape)


def check_batch(x: Tensor, shape: Shape, name: str) -> None:
    """Refuse a tensor that is not a batch of events of this shape.

    Raises:
        ShapeError: `x` is not of shape (batch, *shape).
    """
    if tuple(x.shape[1:]) != shape or x.ndim != len(shape) + 1:
        expected = ", ".join(["batch", *map(str, shape)])
        raise ShapeError(f"{name} has shape {tuple(x.shape)}; expected is ({expected}).")


def sum_event(values: Tensor) -> Tensor:
    """Sum all but the batch dimension: (batch, *event) -> (batch,)."""
    return values.flatten(1).sum(1) if values.ndim > 1 else values


def joined_shape(part: Shape, context_shape: Sequence[int] | int | None) -> Shape:
    """Shape of what `join` makes of a part of the data and context."""
    if context_shape is None:
        return part
    return (size(part) + size(as_shape(context_shape, "context_shape")),)


def join(part: Tensor, context: Tensor | None) -> Tensor:
    """A part of the data together with context, both flat; the part alone without context."""
    if context is None:
        return part
    return torch.cat([part.flatten(1), context.flatten(1).to(part.dtype)], 1)
