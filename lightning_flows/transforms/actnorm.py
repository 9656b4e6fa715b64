"""Activation normalisation."""

from collections.abc import Sequence

import torch
from torch import Tensor, distributed, nn

from lightning_flows.errors import DataError
from lightning_flows.shapes import size
from lightning_flows.transforms.base import Transform

__all__ = ["ActNorm"]


class ActNorm(Transform):
    """z = (x - b)·exp(s) for each channel, the first event dimension (Glow, Kingma et al. 2018).

    `initialise` sets b and s so that a batch has mean 0 and variance 1; where
    `torch.distributed` runs, the statistics are those of the batches of all processes. Whether it
    has happened is a buffer, so a reloaded model is never initialised again.

    Args:
        event_shape: shape of one data point.
    """

    initialised: Tensor

    def __init__(self, event_shape: Sequence[int] | int) -> None:
        super().__init__(event_shape)
        channels = self.event_shape[0]
        self.shift = nn.Parameter(torch.zeros(channels))
        self.log_scale = nn.Parameter(torch.zeros(channels))
        self.register_buffer("initialised", torch.tensor(False))

    def encode(self, x: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        return (x - self._channels(self.shift)) * self._channels(
            self.log_scale
        ).exp(), self._contribution(x)

    def decode(self, z: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        x = z * self._channels(-self.log_scale).exp() + self._channels(self.shift)
        return x, self._contribution(z)

    def encode_each(self, x: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        z, _ = self.encode(x, context)
        return z, self._channels(self.log_scale).expand(z.shape)

    @torch.no_grad()
    def initialise(self, x: Tensor, context: Tensor | None = None) -> None:
        """Set shift and scale from a batch, unless that has happened before.

        Raises:
            DataError: there is only one value for each channel.
        """
        if self.initialised:
            return
        values = x.transpose(0, 1).flatten(1)
        count = _total(torch.tensor(float(values.shape[1]), device=x.device))
        if count < 2:
            raise DataError("ActNorm needs a batch of at least 2 samples to start from; came 1.")
        mean = _total(values.sum(1)) / count
        # not E[x²] - mean²: a large mean would leave only rounding errors
        variance = _total((values - mean[:, None]).square().sum(1)) / count
        variance = variance.clamp(min=1e-6)
        self.shift.copy_(mean)
        self.log_scale.copy_(-0.5 * variance.log())
        self.initialised.fill_(True)

    def _channels(self, vector: Tensor) -> Tensor:
        return vector.reshape(-1, *[1] * (len(self.event_shape) - 1))

    def _contribution(self, x: Tensor) -> Tensor:
        return (size(self.event_shape[1:]) * self.log_scale.sum()).expand(len(x))


def _total(values: Tensor) -> Tensor:
    """Sum over all processes, where there is more than one."""
    if distributed.is_available() and distributed.is_initialized():
        distributed.all_reduce(values)
    return values
