"""Activation normalization."""

import warnings
from collections.abc import Sequence

import torch
from torch import Tensor, distributed, nn

from lightning_flows.core.errors import DataError
from lightning_flows.core.shapes import size
from lightning_flows.core.starting import starting
from lightning_flows.transforms.base import Transform

__all__ = ["ActNorm"]

ROUNDINGS = 8  # a constant is summed with an error of a few of them
SMALLEST = 1e-3  # standard deviation beside others of size 1 that is still taken for a scale


class ActNorm(Transform):
    """z = (x - b)·exp(s) for each channel, the first event dimension (Glow, Kingma et al. 2018).

    `initialize` sets b and s so that a batch has mean 0 and variance 1; where
    `torch.distributed` runs, the statistics are those of the batches of all processes. In an
    inverse, or in a density that is only drawn from, it is the output of `decode` that gets them.
    Whether it has happened is a buffer, so a reloaded model is never initialized again.

    A channel that is constant in the batch, up to rounding or up to a thousandth of 1 and of the
    largest standard deviation, keeps scale 1, and a warning names it: another value of it, once
    it comes, would be thousands of deviations away.

    Args:
        event_shape: shape of one data point.
    """

    initialized: Tensor

    def __init__(self, event_shape: Sequence[int] | int) -> None:
        super().__init__(event_shape)
        channels = self.event_shape[0]
        self.shift = nn.Parameter(torch.zeros(channels))
        self.log_scale = nn.Parameter(torch.zeros(channels))
        self.register_buffer("initialized", torch.tensor(False))

    def encode(self, x: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        if starting() and not self.initialized:
            mean, log_std = self._statistics(x)
            self._set(mean, -log_std)
        z = (x - self._channels(self.shift)) * self._channels(self.log_scale).exp()
        return z, self._contribution(x)

    def decode(self, z: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        if starting() and not self.initialized:
            mean, log_std = self._statistics(z)
            self._set(-mean * torch.exp(-log_std), log_std)
        x = z * self._channels(-self.log_scale).exp() + self._channels(self.shift)
        return x, self._contribution(z)

    def encode_each(self, x: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        z, _ = self.encode(x, context)
        return z, self._channels(self.log_scale).expand(z.shape)

    @torch.no_grad()
    def initialize(self, x: Tensor, context: Tensor | None = None) -> None:
        """Set shift and scale from a batch, unless that has happened before.

        Raises:
            DataError: there is only one value for each channel.
        """
        super().initialize(x, context)

    @torch.no_grad()
    def _set(self, shift: Tensor, log_scale: Tensor) -> None:
        self.shift.copy_(shift)
        self.log_scale.copy_(log_scale)
        self.initialized.fill_(True)

    @torch.no_grad()
    def _statistics(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Mean and log standard deviation of each channel, 0 for a constant one: (channels,)."""
        values = x.transpose(0, 1).flatten(1)
        count = _total(torch.tensor(float(values.shape[1]), device=x.device))
        if count < 2:
            raise DataError("ActNorm needs a batch of at least 2 samples to start from; came 1.")
        mean = _total(values.sum(1)) / count
        # not E[x²] - mean²: a large mean would leave only rounding errors
        std = (_total((values - mean[:, None]).square().sum(1)) / count).sqrt()
        rounding = ROUNDINGS * torch.finfo(x.dtype).eps * (mean.abs() + std)
        constant = (std <= rounding) | (std <= SMALLEST * std.max().clamp(max=1))
        if constant.any():
            channels = constant.nonzero().flatten().tolist()
            warnings.warn(
                f"ActNorm keeps scale 1 for channels that are constant in the first batch: "
                f"{', '.join(map(str, channels[:8]))}{' …' if len(channels) > 8 else ''}. Drop "
                "them or add noise, and standardize data whose channels differ much in size.",
                stacklevel=2,
            )
        return mean, torch.where(constant, 1, std).log()

    def _channels(self, vector: Tensor) -> Tensor:
        return vector.reshape(-1, *[1] * (len(self.event_shape) - 1))

    def _contribution(self, x: Tensor) -> Tensor:
        return (size(self.event_shape[1:]) * self.log_scale.sum()).expand(len(x))


def _total(values: Tensor) -> Tensor:
    """Sum over all processes, where there is more than one."""
    if distributed.is_available() and distributed.is_initialized():
        distributed.all_reduce(values)
    return values
