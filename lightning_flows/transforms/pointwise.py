"""Functions that treat entries by themselves, marked as such."""

from collections.abc import Callable
from functools import wraps
from typing import Any, TypeVar

from torch import Tensor
from torch.overrides import handle_torch_function, has_torch_function

__all__ = ["is_pointwise", "pointwise"]

Function = TypeVar("Function", bound=Callable[..., Tensor])


def pointwise(fn: Function) -> Function:
    """Mark a function of tensors whose every entry depends on the same entry of each of them.

    However many steps it takes, its derivatives are one factor for each entry of each tensor.
    Whoever needs them along many directions may compute these factors once, instead of leading
    every direction through every step.

    Args:
        fn: function of tensors that broadcast against each other, and of constants by keyword.
    """

    @wraps(fn)
    def overridable(*tensors: Tensor, **constants: Any) -> Any:
        if has_torch_function(tensors):
            return handle_torch_function(overridable, tensors, *tensors, **constants)
        return fn(*tensors, **constants)

    overridable.is_pointwise = True  # type: ignore[attr-defined]
    return overridable  # type: ignore[return-value]


def is_pointwise(fn: Callable[..., Any]) -> bool:
    """Whether a function was marked by `pointwise`."""
    return getattr(fn, "is_pointwise", False)
