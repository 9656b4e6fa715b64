"""Weight β of the reconstruction β·‖x - decode(encode(x))‖²: fixed, a noise level, or learned."""

import math

import torch
from torch import Tensor, nn

from lightning_flows.core.errors import check_positive
from lightning_flows.core.recipe import Recorded

__all__ = ["NoiseLevel", "Reconstruction", "TargetError"]

SMALLEST_BETA, LARGEST_BETA = 1e-6, 1e6
ASCENT = 0.02  # largest relative change of the multiplier in a step


class Reconstruction(Recorded, nn.Module):
    """A fixed weight β of the squared error, which is summed over the entries of an event.

    Args:
        beta: β.

    Raises:
        ConfigError: `beta` is not positive.
    """

    learned = False
    """Whether β moves in training."""

    def __init__(self, beta: float = 50.0) -> None:
        super().__init__()
        check_positive(beta=beta)
        self._beta = beta

    @property
    def beta(self) -> float:
        """Weight in training at present."""
        return self._beta

    def scoring_beta(self, normal: int) -> float:
        """Weight in validation, test and the ambient density: it does not move.

        Args:
            normal: number D - d of directions off the manifold.
        """
        return self._beta

    def observe(self, error: Tensor) -> None:
        """Take note of the mean squared error of a training batch, of all ranks."""

    @property
    def stuck(self) -> bool:
        """Whether β has grown as far as it may, and the error is too large still."""
        return False


class NoiseLevel(Reconstruction):
    """β = 1/(2σ²): residuals are Gaussian with standard deviation σ in each entry.

    Args:
        sigma: σ, in units of preprocessed data.

    Raises:
        ConfigError: `sigma` is not positive.
    """

    def __init__(self, sigma: float) -> None:
        check_positive(sigma=sigma)
        super().__init__(1 / (2 * sigma**2))


class TargetError(Reconstruction):
    """β is the Lagrange multiplier that keeps the mean squared error at a target κ.

    Dual ascent on log β from where the likelihood has a weight; β is in the checkpoint. Evaluation
    takes β = max(D - d, 1)/(2κ), the residual variance κ/(D - d) in each of the directions off the
    manifold.

    Args:
        target: κ, the mean over samples of the squared error summed over entries.
        beta: β at the start.

    Raises:
        ConfigError: an option is not positive.
    """

    learned = True
    log_multiplier: Tensor

    def __init__(self, target: float, beta: float = 50.0) -> None:
        check_positive(target=target)
        super().__init__(beta)
        self.target = target
        self.register_buffer("log_multiplier", torch.tensor(math.log(beta)))

    @property
    def beta(self) -> float:
        return float(self.log_multiplier.exp())

    def scoring_beta(self, normal: int) -> float:
        return max(normal, 1) / (2 * self.target)

    @torch.no_grad()
    def observe(self, error: Tensor) -> None:
        step = ASCENT * (error / self.target - 1).clamp(-1, 1)
        step = step.nan_to_num(0.0)  # a bad batch may be skipped, and is to leave nothing then
        self.log_multiplier.add_(step).clamp_(math.log(SMALLEST_BETA), math.log(LARGEST_BETA))

    @property
    def stuck(self) -> bool:
        return self.beta >= 0.99 * LARGEST_BETA
