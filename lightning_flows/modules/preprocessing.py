"""The preprocessing of a model, of its data or its context, and that of the data it meets."""

import copy
from collections.abc import Iterator, Mapping
from typing import Any, Protocol

import torch
from lightning.pytorch.utilities import rank_zero_warn
from torch import Tensor

from lightning_flows.bases.base import check_context
from lightning_flows.core.errors import ConfigError
from lightning_flows.core.recipe import build_part, storable, to_recipe
from lightning_flows.core.shapes import Shape
from lightning_flows.transforms import Transform
from lightning_flows.transforms.base import encode_inside

__all__ = [
    "adopt",
    "brought_by",
    "dtype_of",
    "preprocessed",
    "preprocessed_context",
    "recipes_of",
    "restore",
    "same",
    "warn_of_others",
]

PREPROCESSED = ("preprocess", "preprocess_context")


class Model(Protocol):
    """What has preprocessings of its own, under the names `PREPROCESSED`."""

    context_shape: Shape | None
    preprocess: Transform | None
    preprocess_context: Transform | None

    @property
    def device(self) -> torch.device: ...


def dtype_of(flow: torch.nn.Module) -> torch.dtype:
    """Of the parameters of a flow; torch's default where it has none."""
    parameters: Iterator[Tensor] = flow.parameters()
    kinds = (p.dtype for p in parameters if p.is_floating_point())
    return next(kinds, torch.get_default_dtype())


def preprocessed(
    preprocess: Transform | None, x: Tensor, dtype: torch.dtype
) -> tuple[Tensor, Tensor]:
    """What a flow of this dtype sees of data, and the contribution (batch,) in nats.

    Data is preprocessed in the dtype that it has. Contributions are in single precision at least.
    """
    at_least_single = torch.promote_types(dtype, torch.float32)
    if preprocess is None:
        return x.to(dtype), torch.zeros(len(x), dtype=at_least_single, device=x.device)
    y, contribution = encode_inside(preprocess, x)
    return y.to(dtype), contribution.to(at_least_single)


def preprocessed_context(
    preprocess: Transform | None, context: Tensor | None, shape: Shape | None, dtype: torch.dtype
) -> Tensor | None:
    """What a flow of this dtype sees of context; None where there is none.

    Raises:
        ShapeError: the context that is to be preprocessed has another shape.
    """
    if context is None:
        return None
    if preprocess is not None:
        check_context(shape, context)
        context = preprocess.encode(context)[0]
    return context.to(dtype)


def brought_by(data: Any, name: str = "preprocess") -> Transform | None:
    """The preprocessing of a data module; a foreign one may call anything by this name."""
    preprocess = getattr(data, name, None)
    return preprocess if isinstance(preprocess, Transform) else None


def adopt(model: Model, data: Any) -> None:
    """Give the model a copy of what a data module brings, where it has no preprocessing yet.

    Raises:
        ConfigError: no checkpoint could hold it.
    """
    for name in _names(model):
        brought = brought_by(data, name)
        if brought is not None and getattr(model, name) is None:
            storable(brought)
            setattr(model, name, copy.deepcopy(brought).to(model.device))


def warn_of_others(model: Model, data: Any, *, trained: bool) -> None:
    """Say that the model keeps its own preprocessing where the data brings another one.

    Args:
        model: the model.
        data: the data module, if there is one.
        trained: whether the model has been trained, so that its preprocessing is decided.
    """
    for name in _names(model):
        own, brought = getattr(model, name), brought_by(data, name)
        if brought is None or same(own, brought):
            continue
        what = "preprocessing" + " of context" * (name == "preprocess_context")
        whose = "the model keeps its own" if own is not None else "the model has none"
        reason = "" if trained else ", because it has not been trained"
        rank_zero_warn(
            f"The data brings a {what} ({type(brought).__name__}) that is not that of the "
            f"model, and is not used: {whose}{reason}."
        )


def recipes_of(model: Model) -> dict[str, Any]:
    """What a checkpoint holds of both preprocessings, beside their state; None says there is none.

    Raises:
        ConfigError: one of them cannot be stored.
    """
    return {name: to_recipe(getattr(model, name)) for name in PREPROCESSED}


def restore(model: Model, checkpoint: Mapping[str, Any]) -> None:
    """Give the model the preprocessings that a checkpoint holds, and no other; state comes later.

    Raises:
        ConfigError: a recipe in it makes no transform.
    """
    for name in PREPROCESSED:
        recipe = checkpoint.get(name)
        part = None if recipe is None else build_part(recipe, Transform).to(model.device)
        setattr(model, name, part)


def _names(model: Model) -> tuple[str, ...]:
    """The preprocessings that a model can have: that of context where it sees any."""
    return PREPROCESSED if model.context_shape is not None else PREPROCESSED[:1]


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
