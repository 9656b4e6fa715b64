"""Forward derivatives of common layers, leaner than torch's own."""

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.autograd import forward_ad
from torch.nn import functional as F
from torch.overrides import TorchFunctionMode

__all__ = ["LeanForward"]


class LeanForward(TorchFunctionMode):
    """While active, linear layers and SiLU compute their derivative along a direction themselves.

    torch gives weights, which have no tangent, a tangent of zeros and multiplies by it: a third
    matrix product where two do. Whatever else a network consists of goes torch's way.

    Args:
        graph: whether the derivatives will be differentiated again. If not, those of linear layers
            and SiLU are computed without a graph, while values keep theirs.
    """

    def __init__(self, *, graph: bool = True) -> None:
        super().__init__()
        self.graph = graph

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Sequence[type],
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Any:
        kwargs = kwargs or {}
        if func is F.linear and _only_first_moves(*args, *kwargs.values()):
            return self._linear(*args, **kwargs)
        if func is F.silu and not self.graph and _only_first_moves(args[0]):
            return self._silu(args[0])
        return func(*args, **kwargs)

    def _linear(self, input: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
        value, direction = forward_ad.unpack_dual(input)
        with torch.set_grad_enabled(self.graph and torch.is_grad_enabled()):
            derivative = F.linear(direction, weight)
        dual: Tensor = forward_ad.make_dual(F.linear(value, weight, bias), derivative)
        return dual

    @staticmethod
    def _silu(input: Tensor) -> Tensor:
        value, direction = forward_ad.unpack_dual(input)
        with torch.no_grad():
            derivative = torch.ops.aten.silu_backward(direction, value)
        dual: Tensor = forward_ad.make_dual(F.silu(value), derivative)
        return dual


def _only_first_moves(first: Tensor, *others: Tensor | None) -> bool:
    """Whether the first tensor has a derivative along the direction, and the others have none."""
    return _moves(first) and not any(_moves(other) for other in others)


def _moves(tensor: Tensor | None) -> bool:
    return tensor is not None and forward_ad.unpack_dual(tensor).tangent is not None
