"""Batches of any form, and what of them is data and what context."""

from collections.abc import Mapping
from typing import Any

from torch import Tensor

from lightning_flows.bases.base import check_context
from lightning_flows.core.errors import ShapeError
from lightning_flows.core.shapes import Shape, check_batch

__all__ = ["context_alone", "unpacked"]


def unpacked(
    batch: Any, event_shape: Shape, context_shape: Shape | None, *, data_key: str, context_key: str
) -> tuple[Tensor, Tensor | None]:
    """Data and context of a batch: a tensor, a sequence of them, or a mapping to them.

    In a mapping the names decide, so that a label is never taken as context. Of a sequence, the
    second entry is context where the model has a context_shape.

    Args:
        batch: what a loader gave.
        event_shape: shape of one data point.
        context_shape: shape of the context of one; None leaves context out.
        data_key: name of the data in a mapping.
        context_key: name of the context in a mapping.

    Raises:
        ShapeError: the data or the context is missing, or has another shape.
    """
    if isinstance(batch, Mapping):
        if data_key not in batch:
            raise ShapeError(
                f"The batch is a mapping with {', '.join(map(repr, batch)) or 'no entry'}, and "
                f"not {data_key!r}: name the entry of the data with data_key."
            )
        x, context = batch[data_key], batch.get(context_key)
    elif isinstance(batch, Tensor):
        x, context = batch, None
    else:
        x, context = batch[0], batch[1] if len(batch) > 1 else None
    check_batch(x, event_shape, "The data of a batch")
    if context_shape is None:
        return x, None
    if context is None:
        raise ShapeError(
            "The model needs context, and the batch holds none: give (x, context), or a mapping "
            f"with the entry {context_key!r}; labels of classes become context by "
            "datamodules.one_hot."
        )
    check_context(context_shape, context, rows=len(x))
    return x, context


def context_alone(
    batch: Any, context_shape: Shape | None, *, data_key: str, context_key: str
) -> Tensor | None:
    """Context of a batch that holds no data: a mapping without it, or a single tensor.

    Args:
        batch: what a loader gave.
        context_shape: shape of the context of one data point; None where there is none.
        data_key: name of the data in a mapping.
        context_key: name of the context in a mapping.

    Returns:
        (batch, *context_shape), or None where there is data, or no context.

    Raises:
        ShapeError: the context has another shape.
    """
    if context_shape is None:
        return None
    if isinstance(batch, Mapping):
        context = None if data_key in batch else batch.get(context_key)
    elif isinstance(batch, Tensor):
        context = batch
    else:
        context = batch[0] if len(batch) == 1 else None
    if context is not None:
        check_context(context_shape, context)
    return context
