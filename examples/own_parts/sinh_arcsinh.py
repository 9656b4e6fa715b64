"""A transform and a flow of one's own: sinh-arcsinh maps (Jones and Pewsey 2009)."""

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from lightning_flows import Chain, Flow, Transform
from lightning_flows.transforms import LULinear

__all__ = ["SinhArcsinh", "SinhArcsinhFlow"]


class SinhArcsinh(Transform):
    """z = sinh(δ·asinh(x) + ε): ε makes a normal base skew, δ < 1 gives it heavy tails.

    Args:
        event_shape: shape of one data point; δ in (1/e, e) and ε in (-9, 9) are learned for each
            entry, bounded so that no number overflows in single precision.
    """

    def __init__(self, event_shape: Sequence[int] | int) -> None:
        super().__init__(event_shape)
        self.raw_tail = nn.Parameter(torch.zeros(self.event_shape))
        self.raw_skew = nn.Parameter(torch.zeros(self.event_shape))

    def encode(self, x: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        inner = self._log_tail.exp() * x.asinh() + self._skew
        return inner.sinh(), self._contribution(x, inner)

    def decode(self, z: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        inner = z.asinh()
        x = ((inner - self._skew) / self._log_tail.exp()).sinh()
        return x, self._contribution(x, inner)

    @property
    def _log_tail(self) -> Tensor:
        return self.raw_tail.tanh()

    @property
    def _skew(self) -> Tensor:
        return 9 * (self.raw_skew / 9).tanh()

    def _contribution(self, x: Tensor, inner: Tensor) -> Tensor:
        """log|dz/dx| = log δ + log cosh(inner) - ½ log(1 + x²), summed: (batch,), nats."""
        log_cosh = inner.abs() + F.softplus(-2 * inner.abs()) - math.log(2)
        half_log = torch.hypot(x, torch.ones_like(x)).log()
        return (self._log_tail + log_cosh - half_log).flatten(1).sum(1)


class SinhArcsinhFlow(Flow):
    """Layers of a learned linear map and a sinh-arcsinh map of each feature.

    Args:
        event_shape: (features,).
        layers: number of layers.
    """

    def __init__(self, event_shape: Sequence[int] | int, *, layers: int = 3) -> None:
        parts = [make(event_shape) for _ in range(layers) for make in (LULinear, SinhArcsinh)]
        super().__init__(Chain(parts))
