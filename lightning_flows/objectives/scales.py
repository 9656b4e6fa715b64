"""Standard deviations in an objective: fixed, learned above a floor, or annealed from above."""

import math

import torch
from torch import Tensor, nn

from lightning_flows.core.errors import check_from_zero, check_least, check_positive
from lightning_flows.core.recipe import Recorded

__all__ = ["AnnealedScale", "LearnedScale", "Scale"]


class Scale(Recorded, nn.Module):
    """A fixed standard deviation, in units of the preprocessed data or of a bijection of it.

    Args:
        value: the standard deviation.

    Raises:
        ConfigError: `value` is not positive.
    """

    now: Tensor

    def __init__(self, value: float) -> None:
        super().__init__()
        check_positive(value=value)
        self.register_buffer("now", torch.tensor([float(value)]))

    def forward(self) -> Tensor:
        """The standard deviation in training at present, (1,), or one for each coordinate."""
        return self.now

    def scoring(self) -> Tensor:
        """That of validation, test and densities, of the same shape; no schedule moves it."""
        return self.forward()

    def follow(self, epoch: int) -> None:
        """Take the value of an epoch of training."""


class LearnedScale(Scale):
    """A standard deviation τ = √(floor² + e^{2ρ}) that is trained with the flow through ρ.

    The floor keeps the objective finite where data lies on a manifold exactly, whose entropy is
    -∞: choose it as the noise that the data is known to have.

    Args:
        start: τ before training; more than the floor.
        floor: what τ does not fall below.
        coordinates: how many of them are learned, 1 or one for each coordinate.

    Raises:
        ConfigError: `start` is not above `floor`, or an option is out of range.
    """

    def __init__(self, start: float = 1.0, floor: float = 0.01, coordinates: int = 1) -> None:
        check_from_zero(floor=floor)
        check_positive(**{"start - floor": start - floor})
        check_least(1, coordinates=coordinates)
        super().__init__(start)
        self.floor = floor
        rho = 0.5 * math.log(start**2 - floor**2)
        self.log_excess = nn.Parameter(torch.full((coordinates,), rho))

    def forward(self) -> Tensor:
        tau: Tensor = (self.floor**2 + (2 * self.log_excess).exp()).sqrt()
        return tau


class AnnealedScale(Scale):
    """A standard deviation that falls geometrically from `start` to `end` in training.

    Scores are those of `end` throughout, so epochs can be compared by them. The present value is
    in the checkpoint.

    Args:
        start: in the first epoch.
        end: from epoch number `epochs` on.
        epochs: how many it takes.

    Raises:
        ConfigError: an option is not positive.
    """

    def __init__(self, start: float = 1.0, end: float = 0.1, epochs: int = 10) -> None:
        check_positive(start=start, end=end)
        check_least(1, epochs=epochs)
        super().__init__(start)
        self.start, self.end, self.epochs = start, end, epochs

    def scoring(self) -> Tensor:
        return torch.full_like(self.now, self.end)

    def follow(self, epoch: int) -> None:
        share = min(epoch / self.epochs, 1.0)
        self.now.fill_(self.start ** (1 - share) * self.end**share)
