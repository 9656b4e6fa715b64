"""Functions that treat entries by themselves, together with their slopes."""

from collections.abc import Callable
from functools import wraps
from typing import Any

from torch import Tensor
from torch.overrides import handle_torch_function, has_torch_function

__all__ = ["Slopes", "pointwise", "slopes_of"]

Function = Callable[..., Tensor]
Slopes = Callable[..., tuple[Tensor, ...]]


def pointwise(slopes: Slopes) -> Callable[[Function], Function]:
    """Say of a function that each entry depends on the same entry of its tensors, and how.

    However many steps it takes, its derivative along a direction is one product for each tensor.
    Whoever needs it along many directions computes the slopes once, instead of leading every
    direction through every step. Elsewhere the function is as it was.

    Args:
        slopes: takes what the function takes, tensors that broadcast against each other and
            constants by keyword; gives the derivative by each of the tensors.
    """

    def mark(fn: Function) -> Function:
        @wraps(fn)
        def overridable(*tensors: Tensor, **constants: Any) -> Tensor:
            if has_torch_function(tensors):
                result: Tensor = handle_torch_function(overridable, tensors, *tensors, **constants)
                return result
            return fn(*tensors, **constants)

        # functions do carry attributes, of which their static type knows nothing
        overridable.slopes = slopes  # type: ignore[attr-defined]
        return overridable

    return mark


def slopes_of(fn: Callable[..., Any]) -> Slopes | None:
    """The slopes that `pointwise` was told, or None."""
    return getattr(fn, "slopes", None)
