"""A monotone map of the distance from the origin."""

from collections.abc import Sequence

import torch
from torch import Tensor

from lightning_flows.core.errors import check_positive
from lightning_flows.core.shapes import size
from lightning_flows.nets.mlp import MLP
from lightning_flows.transforms.base import Transform
from lightning_flows.transforms.bijections.spline import PositiveSpline

__all__ = ["Radial"]

LOG_SCALE = 10.0  # largest, nats
REACH = 5.0  # normal numbers lie within this distance beyond the root of their number


class Radial(Transform):
    """z = x·g(‖x‖)/‖x‖ with a learned monotone g, g(0) = 0: directions stay, distances change.

    The decreasing rearrangement of any density is a radial profile, so that this is the layer which
    flows lack whose other layers all preserve volume (Draxler et al. 2024, arXiv 2402.06578).
    Squared distances q = e^(2s)·‖x‖² go through a rational-quadratic spline G from [0, bound²]
    onto itself, so g(r) = √G(e^(2s)·r²): smooth at the origin, and r·e^s beyond `bound`. With D
    entries of an event the log-determinant is D·s + (D/2 - 1)·log(G(q)/q) + log G'(q).

    Args:
        event_shape: shape of one data point.
        bins: number of bins of the spline.
        bound: where the spline ends; 5 beyond √D by default, which normal numbers hardly exceed.
        context_shape: shape of what s and G depend on.
        hidden: width of each hidden layer of the network from context to s and G.

    Raises:
        ConfigError: `bins` is out of range, or `bound` not positive.
    """

    def __init__(
        self,
        event_shape: Sequence[int] | int,
        *,
        bins: int = 8,
        bound: float | None = None,
        context_shape: Sequence[int] | int | None = None,
        hidden: Sequence[int] = (64,),
    ) -> None:
        super().__init__(event_shape, context_shape=context_shape)
        check_positive(bound=bound)
        d = size(self.event_shape)
        end = d**0.5 + REACH if bound is None else bound
        self.spline = PositiveSpline(bins, end**2)
        inputs = 0 if self.context_shape is None else size(self.context_shape)
        self.net = MLP(inputs, 1 + self.spline.size, hidden=hidden, zero_last=True)

    def encode(self, x: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        s, h = self._scale_and_spline(x, context)
        y = x.flatten(1) * s.exp()
        q = _squares(y)
        p, log_slope = self.spline.encode(q, h)
        log_ratio = (p / q).log()
        z = y * (0.5 * log_ratio).exp()
        return z.reshape(x.shape), self._contribution(s, log_ratio, log_slope)

    def decode(self, z: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        s, h = self._scale_and_spline(z, context)
        p = _squares(z.flatten(1))
        q, log_slope = self.spline.decode(p, h)
        log_ratio = (p / q).log()
        x = z.flatten(1) * (-0.5 * log_ratio - s).exp()
        return x.reshape(z.shape), self._contribution(s, log_ratio, log_slope)

    def _scale_and_spline(self, x: Tensor, context: Tensor | None) -> tuple[Tensor, Tensor]:
        """Log-scale (batch, 1), and parameters of the spline, (batch, size, 1)."""
        inputs = x.new_zeros(len(x), 0)
        if self.context_shape is not None and context is not None:
            inputs = context.flatten(1).to(x.dtype)
        raw, h = self.net(inputs).to(x.dtype).split([1, self.spline.size], 1)
        return LOG_SCALE * torch.tanh(raw / LOG_SCALE), h[:, :, None]

    def _contribution(self, s: Tensor, log_ratio: Tensor, log_slope: Tensor) -> Tensor:
        d = size(self.event_shape)
        return (d * s + (0.5 * d - 1) * log_ratio + log_slope).squeeze(1)


def _squares(y: Tensor) -> Tensor:
    """Squared distance from the origin, (batch, 1); a tiny one where its ratio to another is 0/0.

    Below the root of the smallest number G(q)/q is G'(0) to the last digit.
    """
    return y.square().sum(1, keepdim=True).clamp(min=torch.finfo(y.dtype).tiny ** 0.5)
