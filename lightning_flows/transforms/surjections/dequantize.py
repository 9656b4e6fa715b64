"""From integers to densities: dequantization with uniform or learned noise."""

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from lightning_flows.bases.base import Density
from lightning_flows.bases.conditional import ConditionalNormal
from lightning_flows.bases.given import DensityFactory, DensityGiven
from lightning_flows.bases.normal import normal_log_prob
from lightning_flows.core.errors import check_least
from lightning_flows.core.noise import Reproducible, uniform_noise
from lightning_flows.core.shapes import as_shape, check_batch, size
from lightning_flows.core.support import REAL, UNIT, Levels
from lightning_flows.transforms.base import Transform

__all__ = ["Dequantize", "VariationalDequantize"]


class Dequantize(Transform):
    """Adds uniform noise to integers and scales them to the unit cube: z = (x + u) / levels.

    Where the integers have no known ends, as counts in a table, `levels` is None, nothing is
    scaled, and z = x + u.

    The contribution is -D log(levels) nats, so that a log-density of z becomes a lower bound of
    the log-probability of the integers x (Theis et al. 2016), exact where the density is constant
    over each cell. In training mode u comes from the global random state. In evaluation mode it
    is a hash of the event and of what tells it apart from equal ones (`core.noise`): a score does
    not change from call to call, and the global random state stays as it was.

    `decode` rounds down, which has no useful derivative. Its derivative is that of the map before
    rounding (`levels` times the identity), so Jacobians speak of the dequantized density.

    Args:
        event_shape: shape of one data point.
        levels: number of values that an entry may take, 0 to levels - 1; None for any integers.

    Raises:
        ConfigError: fewer than two levels.
    """

    def __init__(self, event_shape: Sequence[int] | int, levels: int | None) -> None:
        check_least(2, levels=levels)
        super().__init__(
            event_shape,
            kind="generative surjection",
            domain=Levels() if levels is None else Levels(0, levels),
            codomain=REAL if levels is None else UNIT,
        )
        self.bounded = levels is not None
        self.levels = 1 if levels is None else levels  # what z is scaled by

    def encode(self, x: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        check_batch(x, self.event_shape, "x")
        key = x.long()  # the same noise whatever the type of the integers
        floating = x.dtype if x.is_floating_point() else torch.get_default_dtype()
        x = x.to(torch.promote_types(floating, torch.float32))  # half precision has no room for u
        with Reproducible(key, not self.training):
            noise, log_q = self._draw(x, context)
        return (x + noise) / self.levels, self._contribution(x) - log_q

    def decode(self, z: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        check_batch(z, self.event_shape, "z")
        scaled = z * self.levels
        floored = scaled.detach().floor()
        if self.bounded:
            floored = floored.clamp(0, self.levels - 1)
        log_q = self._score(scaled - floored, floored, context)
        return scaled - scaled.detach() + floored, self._contribution(z) - log_q

    def _contribution(self, x: Tensor) -> Tensor:
        return x.new_full((len(x),), -size(self.event_shape) * math.log(self.levels))

    def _margin(self, x: Tensor) -> Tensor:
        """How far noise stays from 0 and 1, so that rounding never leaves a cell."""
        largest = x.new_full((), self.levels) if self.bounded else x.abs() + 1
        return (2 * largest * torch.finfo(x.dtype).eps).clamp(max=0.5)

    def _draw(self, x: Tensor, context: Tensor | None) -> tuple[Tensor, Tensor]:
        """Noise in (0, 1) and its log-density (batch,)."""
        margin = self._margin(x)
        return uniform_noise(x.shape, x).clamp(margin, 1 - margin), x.new_zeros(len(x))

    def _score(self, noise: Tensor, x: Tensor, context: Tensor | None) -> Tensor:
        """Log-density of noise at integers x: (batch,)."""
        return x.new_zeros(len(x))


class VariationalDequantize(Dequantize):
    """Dequantization with noise from a learned density given the integers (Ho et al. 2019).

    z = (x + Φ(v)) / levels with v ~ q(v | x) and the normal distribution function Φ; the
    contribution is that of `Dequantize` minus the log-density of Φ(v). A standard normal q is
    uniform noise, so by default training starts from there. The bound is tight where q follows
    the density of z in each cell. In single precision z has few digits for noise close to the
    ends of a cell, so there `decode` gives the contribution with an error.

    Args:
        event_shape: shape of one data point.
        levels: number of values that an entry may take, 0 to levels - 1.
        density: that of v given the integers, scaled to [-1, 1): a density on all reals or what
            makes one, such as `partial(RealNVP, layers=4)`; a `ConditionalNormal` by default.
        context_shape: shape of what the noise depends on besides.

    Raises:
        ConfigError: fewer than two levels.
    """

    def __init__(
        self,
        event_shape: Sequence[int] | int,
        levels: int,
        *,
        density: Density | DensityFactory | None = None,
        context_shape: Sequence[int] | int | None = None,
    ) -> None:
        super().__init__(event_shape, levels)
        if context_shape is not None:
            self.context_shape = as_shape(context_shape, "context_shape")
        self.density = DensityGiven(
            density or ConditionalNormal, self.event_shape, self.event_shape, self.context_shape
        )

    def _draw(self, x: Tensor, context: Tensor | None) -> tuple[Tensor, Tensor]:
        noise = torch.special.ndtr(self.density.draw(self._scaled(x), context)[0])
        margin = self._margin(x)
        noise = noise.clamp(margin, 1 - margin)
        return noise, self._score(noise, x, context)

    def _score(self, noise: Tensor, x: Tensor, context: Tensor | None) -> Tensor:
        margin = self._margin(x)
        v = torch.special.ndtri(noise.clamp(margin, 1 - margin))
        return self.density.score(v, self._scaled(x), context) - _log_slope(v)

    def _scaled(self, x: Tensor) -> Tensor:
        return 2 * x / self.levels - 1


def _log_slope(v: Tensor) -> Tensor:
    """Summed log-derivative of the normal distribution function: (batch,)."""
    return normal_log_prob(v, torch.zeros_like(v), torch.zeros_like(v))
