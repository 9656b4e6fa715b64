"""Forward derivatives of common layers, leaner than torch's own."""

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.autograd import forward_ad
from torch.func import jvp
from torch.nn import functional as F
from torch.overrides import TorchFunctionMode

from lightning_flows.transforms.pointwise import is_pointwise

__all__ = ["LeanForward"]

POINTWISE = {F.silu}


class LeanForward(TorchFunctionMode):
    """While active, linear layers and pointwise functions have shorter ways to their derivatives.

    torch gives weights, which have no tangent, a tangent of zeros and multiplies by it: a third
    matrix product where two do. And it leads every direction through every step of an activation,
    where the slope at the point, which all directions share, does. Whatever else a network
    consists of goes torch's way.

    Args:
        graph: whether the derivatives will be differentiated again. If not, those of linear layers
            and pointwise functions are computed without a graph, while values keep theirs.
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
        if func is F.silu and not self.graph and _moves(args[0]):
            return self._silu(args[0])
        if (func in POINTWISE or is_pointwise(func)) and any(map(_moves, args)):
            return self._pointwise(func, *args, **kwargs)
        return func(*args, **kwargs)

    def _linear(self, input: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
        value, direction = forward_ad.unpack_dual(input)
        with self._grad():
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

    def _pointwise(self, func: Callable[..., Tensor], *inputs: Tensor, **constants: Any) -> Tensor:
        duals = [forward_ad.unpack_dual(x) for x in torch.broadcast_tensors(*inputs)]
        moving = [i for i, dual in enumerate(duals) if dual.tangent is not None]

        def of_moving(*moved: Tensor) -> Tensor:
            values = [dual.primal for dual in duals]
            for i, value in zip(moving, moved, strict=True):
                values[i] = value
            return func(*values, **constants)

        primals = tuple(duals[i].primal for i in moving)
        directions = [duals[i].tangent for i in moving]
        with self._grad():
            value, slope = jvp(of_moving, primals, _unit(0, primals))[:2]
            derivative = slope * directions[0]
            for k, direction in enumerate(directions[1:], 1):
                slope = jvp(of_moving, primals, _unit(k, primals))[1]
                derivative = torch.addcmul(derivative, slope, direction)
        dual: Tensor = forward_ad.make_dual(value, derivative)
        return dual

    def _grad(self) -> torch.set_grad_enabled:
        return torch.set_grad_enabled(self.graph and torch.is_grad_enabled())


def _unit(k: int, primals: Sequence[Tensor]) -> tuple[Tensor, ...]:
    """A direction in which every entry of the k-th tensor moves, and no other."""
    return tuple(torch.full_like(x, float(i == k)) for i, x in enumerate(primals))


def _only_first_moves(first: Tensor, *others: Tensor | None) -> bool:
    """Whether the first tensor has a derivative along the direction, and the others have none."""
    return _moves(first) and not any(_moves(other) for other in others)


def _moves(tensor: Any) -> bool:
    return isinstance(tensor, Tensor) and forward_ad.unpack_dual(tensor).tangent is not None
