"""Rotations of angles."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from lightning_flows.core.angles import wrapped
from lightning_flows.core.errors import ConfigError, check_finite
from lightning_flows.core.shapes import as_features
from lightning_flows.core.support import Torus
from lightning_flows.transforms.base import Transform

__all__ = ["PeriodicShift"]


class PeriodicShift(Transform):
    """z = x + shift modulo 2π: a rotation of each angle, which keeps the volume.

    The phase translation of Rezende et al. 2020, section 2.1. It moves the place where -π and π
    meet, which splines that follow may not.

    Args:
        event_shape: the number of angles n, or (n,).
        shift: of every angle, or one of each, radians; with `learned` at the start.
        learned: whether shifts are parameters.

    Raises:
        ShapeError: events are no vectors.
        ConfigError: `shift` is not finite, or as many numbers as there are angles.
    """

    shift: Tensor

    def __init__(
        self,
        event_shape: Sequence[int] | int,
        *,
        shift: float | Sequence[float] = 0.0,
        learned: bool = True,
    ) -> None:
        features = as_features(event_shape, "PeriodicShift")
        super().__init__(
            features, domain=Torus(features), codomain=Torus(features), volume_preserving=True
        )
        shifts = [*shift] if isinstance(shift, Sequence) else [shift] * features
        if len(shifts) != features:
            raise ConfigError(f"shift is {shift}; accepted are one number, or {features} of them.")
        for each in shifts:
            check_finite(shift=each)
        values = torch.tensor(shifts, dtype=torch.get_default_dtype())
        if learned:
            self.shift = nn.Parameter(values)
        else:
            self.register_buffer("shift", values)

    def encode(self, x: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        return wrapped(x + wrapped(self.shift)), x.new_zeros(len(x))

    def decode(self, z: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        return wrapped(z - wrapped(self.shift)), z.new_zeros(len(z))
