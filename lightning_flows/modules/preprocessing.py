"""The preprocessing of a model, of its data or its context, and that of the data it meets."""

from typing import Any

import torch
from lightning.pytorch.utilities import rank_zero_warn
from torch import Tensor

from lightning_flows.core.errors import ConfigError
from lightning_flows.core.recipe import to_recipe
from lightning_flows.transforms import Transform

__all__ = ["brought_by", "same", "warn_of_another"]


def brought_by(data: Any, name: str = "preprocess") -> Transform | None:
    """The preprocessing of a data module; a foreign one may call anything by this name."""
    preprocess = getattr(data, name, None)
    return preprocess if isinstance(preprocess, Transform) else None


def warn_of_another(own: Transform | None, data: Any, name: str, *, trained: bool) -> None:
    """Say that the model keeps its own preprocessing where the data brings another one.

    Args:
        own: that of the model.
        data: the data module, if there is one.
        name: of its attribute, preprocess or preprocess_context.
        trained: whether the model has been trained, so that its preprocessing is decided.
    """
    brought = brought_by(data, name)
    if brought is None or same(own, brought):
        return
    what = "preprocessing" + " of context" * (name == "preprocess_context")
    whose = "the model keeps its own" if own is not None else "the model has none"
    reason = "" if trained else ", because it has not been trained"
    rank_zero_warn(
        f"The data brings a {what} ({type(brought).__name__}) that is not that of the "
        f"model, and is not used: {whose}{reason}."
    )


def same(own: Transform | None, other: Transform | None) -> bool:
    """Whether two transforms have the same parts and options, and the same statistics."""
    if own is None or other is None:
        return own is other
    left, right = own.state_dict(), other.state_dict()
    return (
        _recipe(own) == _recipe(other)
        and left.keys() == right.keys()
        and all(_close(value, right[key]) for key, value in left.items())
    )


def _recipe(transform: Transform) -> Any:
    try:
        return to_recipe(transform)
    except ConfigError:  # cannot be stored, but can be compared by its state
        return type(transform)


def _close(value: Tensor, other: Tensor) -> bool:
    """Equal up to rounding, in the dtype of the first."""
    other = other.to(value)
    if value.shape != other.shape or not value.is_floating_point():
        return torch.equal(value, other)
    return torch.allclose(value, other)
