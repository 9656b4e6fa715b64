"""A transform and a flow of one's own: sinh-arcsinh maps (Jones and Pewsey 2009)."""

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from lightning_flows import Chain, Flow, Transform
from lightning_flows.transforms import LULinear

__all__ = ["SinhArcsinh", "SinhArcsinhFlow"]

ONE = math.log(math.expm1(1))  # softplus of it is 1


class SinhArcsinh(Transform):
    """z = sinh(δ·asinh(x) + ε): ε makes a normal base skew, δ < 1 gives it heavy tails.

    Args:
        event_shape: shape of one data point; δ > 0 and ε are learned for each entry.
    """

    def __init__(self, event_shape: Sequence[int] | int) -> None:
        super().__init__(event_shape)
        self.raw_tail = nn.Parameter(torch.full(self.event_shape, ONE))
        self.skew = nn.Parameter(torch.zeros(self.event_shape))

    def encode(self, x: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        inner = F.softplus(self.raw_tail) * x.asinh() + self.skew
        return inner.sinh(), self._contribution(x, inner)

    def decode(self, z: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        inner = z.asinh()
        x = ((inner - self.skew) / F.softplus(self.raw_tail)).sinh()
        return x, self._contribution(x, inner)

    def _contribution(self, x: Tensor, inner: Tensor) -> Tensor:
        """log|dz/dx| = log δ + log cosh(inner) - ½ log(1 + x²), summed: (batch,), nats."""
        log_cosh = inner.abs() + F.softplus(-2 * inner.abs()) - math.log(2)
        half_log = torch.hypot(x, torch.ones_like(x)).log()
        return (F.softplus(self.raw_tail).log() + log_cosh - half_log).flatten(1).sum(1)


class SinhArcsinhFlow(Flow):
    """Layers of a learned linear map and a sinh-arcsinh map of each feature.

    Args:
        event_shape: (features,).
        layers: number of layers.
    """

    def __init__(self, event_shape: Sequence[int] | int, *, layers: int = 3) -> None:
        parts = [make(event_shape) for _ in range(layers) for make in (LULinear, SinhArcsinh)]
        super().__init__(Chain(parts))
