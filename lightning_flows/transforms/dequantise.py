"""From integers to densities: uniform dequantisation."""

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from lightning_flows.errors import ConfigError
from lightning_flows.shapes import check_batch, size
from lightning_flows.transforms.base import UNIT, Support, Transform

__all__ = ["Dequantise"]

_WORD = 0xFFFFFFFF  # hashes are 32 bits wide, kept in int64


class Dequantise(Transform):
    """Adds uniform noise to integers and scales them to the unit cube: z = (x + u) / levels.

    The contribution is -D log(levels) nats, so that a log-density of z becomes a lower bound of
    the log-probability of the integers x (Theis et al. 2016), exact where the density is constant
    over each cell. In training mode u comes from the global random state. In evaluation mode it
    is a hash of the event itself: a score does not change from call to call, with the batch size,
    or with the number of ranks, and the global random state stays as it was.

    `decode` rounds down, which has no useful derivative. Its derivative is that of the map before
    rounding (`levels` times the identity), so Jacobians speak of the dequantised density.

    Args:
        event_shape: shape of one data point.
        levels: number of values that an entry may take, 0 to levels - 1.

    Raises:
        ConfigError: fewer than two levels.
    """

    def __init__(self, event_shape: Sequence[int] | int, levels: int) -> None:
        if levels < 2:
            raise ConfigError(f"Dequantise needs at least 2 levels; levels is {levels}.")
        super().__init__(
            event_shape,
            kind="generative surjection",
            domain=Support(0.0, levels, discrete=True),
            codomain=UNIT,
        )
        self.levels = levels

    def encode(self, x: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        check_batch(x, self.event_shape, "x")
        floating = x.dtype if x.is_floating_point() else torch.get_default_dtype()
        x = x.to(torch.promote_types(floating, torch.float32))  # half precision has no room for u
        noise = torch.rand_like(x) if self.training else _hashed_noise(x)
        margin = 2 * self.levels * torch.finfo(x.dtype).eps  # so that rounding never leaves a cell
        return (x + noise.clamp(margin, 1 - margin)) / self.levels, self._contribution(x)

    def decode(self, z: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        check_batch(z, self.event_shape, "z")
        scaled = z * self.levels
        floored = scaled.detach().floor().clamp(0, self.levels - 1)
        return scaled - scaled.detach() + floored, self._contribution(z)

    def _contribution(self, x: Tensor) -> Tensor:
        return x.new_full((len(x),), -size(self.event_shape) * math.log(self.levels))


def _hashed_noise(x: Tensor) -> Tensor:
    """Numbers in [0, 1) from each event alone; integer arithmetic, the same on all devices."""
    flat = x.detach().flatten(1).long()
    places = _hash(torch.arange(1, flat.shape[1] + 1, device=x.device))
    digests = _hash((flat * places).sum(1, keepdim=True) & _WORD)
    return ((_hash((digests + places) & _WORD) >> 8) * 2.0**-24).to(x.dtype).reshape(x.shape)


def _hash(word: Tensor) -> Tensor:
    """Mix 32 bits: xor-shifts and odd multipliers (constants of C. Wellons' lowbias32)."""
    word = (word ^ (word >> 16)) * 0x7FEB352D & _WORD
    word = (word ^ (word >> 15)) * 0x846CA68B & _WORD
    return word ^ (word >> 16)
