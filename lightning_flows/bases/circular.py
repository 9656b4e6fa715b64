"""Densities of angles."""

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from lightning_flows.bases.conditional import Scaled
from lightning_flows.bases.uniform import Uniform
from lightning_flows.core.angles import wrapped
from lightning_flows.core.noise import uniform_noise
from lightning_flows.core.shapes import as_features
from lightning_flows.core.support import Torus

__all__ = ["UniformTorus", "VonMises", "log_bessel"]

ROUNDS = 32  # proposals for each angle: at least 0.65 are accepted, so all fail once in 4e14 times
TERMS = 8  # of the series, whose error is 2e-13 where it begins
SERIES_FROM = 50.0


class UniformTorus(Uniform):
    """Uniform density of n angles in [-π, π], -π and π being the same point.

    Args:
        event_shape: the number of angles n, or (n,).

    Raises:
        ShapeError: events are no vectors.
    """

    def __init__(self, event_shape: Sequence[int] | int) -> None:
        features = as_features(event_shape, "UniformTorus")
        super().__init__(features, low=-math.pi, high=math.pi)
        self.support = Torus(features)


class VonMises(Scaled):
    """Independent angles, each with log p(x) = κ·cos(x - μ) - log(2π I₀(κ)).

    Location μ and log κ are learned, or computed from context. Samples (Best and Fisher 1979)
    carry gradients to locations, not to concentrations.

    Args:
        event_shape: the number of angles n, or (n,).
        context_shape: shape of the context, or None for learned constants.
        hidden: width of each hidden layer of the network.
        activation: relu, silu, tanh, gelu, elu or softplus.
        bound: largest absolute log-concentration; from κ = 1 at the start to about 10,000.

    Raises:
        ShapeError: events are no vectors.
        ConfigError: `bound` is not positive.
    """

    parameters_each = 2

    def __init__(
        self,
        event_shape: Sequence[int] | int,
        context_shape: Sequence[int] | int | None = None,
        *,
        hidden: Sequence[int] = (64, 64),
        activation: str = "relu",
        bound: float = 9.3,
    ) -> None:
        features = as_features(event_shape, "VonMises")
        self.support = Torus(features)
        super().__init__(features, context_shape, hidden=hidden, activation=activation, bound=bound)

    def log_prob_each(self, x: Tensor, context: Tensor | None = None) -> Tensor:
        loc, log_concentration = self.parameters_at(len(x), context)
        concentration = log_concentration.exp()
        below_peak = -2 * torch.sin((x - loc) / 2).square()  # cos - 1, to all digits
        return concentration * below_peak - log_bessel(concentration) - math.log(2 * math.pi)

    @property
    def reparametrized(self) -> bool:
        """Not: draws are accepted or rejected."""
        return False

    def draw(self, n: int, context: Tensor | None = None, temperature: float = 1.0) -> Tensor:
        """Draw angles; `temperature` is a factor on their spread: κ is divided by its square."""
        loc, log_concentration = self.parameters_at(n, context)
        concentration = log_concentration.detach().exp() / max(temperature, 1e-6) ** 2
        return wrapped(loc + _around_zero(concentration))


def log_bessel(concentration: Tensor) -> Tensor:
    """Log of I₀(κ)·exp(-κ), the modified Bessel function of the first kind, κ ≥ 0.

    From κ = 50 on it is the asymptotic series (Abramowitz and Stegun 9.7.1), whose derivative
    keeps its digits where that of the function is a difference of nearly equal numbers.
    """
    large = concentration > SERIES_FROM
    small = torch.where(large, 1.0, concentration)
    inverse = 1 / (8 * torch.where(large, concentration, SERIES_FROM))
    total = torch.zeros_like(inverse)
    for k in range(TERMS, 0, -1):  # Horner
        total = (1 + total) * inverse * (2 * k - 1) ** 2 / k
    series = torch.log1p(total) + 0.5 * torch.log(4 * inverse / math.pi)
    return torch.where(large, series, torch.special.i0e(small).log())


def _around_zero(concentration: Tensor) -> Tensor:
    """Von Mises angles with location 0, (n, features): the first proposal that is accepted.

    The algorithm of Best and Fisher, from wrapped Cauchy proposals. 1 - cos takes the place of cos
    and r - 1 that of r, so that large concentrations keep their digits.
    """
    n, features = concentration.shape
    angle, height, sign = uniform_noise((n, 3, ROUNDS, features), concentration).unbind(1)
    k = concentration[:, None].clamp(min=1e-4)  # below it angles are uniform
    root = torch.hypot(2 * k, torch.ones_like(k))
    tau = 1 + root
    full = tau + (2 * tau).sqrt()
    rho = 2 * k / full
    gap = (1 + 1 / (root + 2 * k) + (2 * tau).sqrt()) / full  # 1 - rho
    excess = gap.square() / (2 * rho)  # r - 1
    fall = 2 * torch.sin(math.pi / 2 * angle).square()  # 1 - cos of a uniform angle
    away = excess * fall / (excess + 2 - fall)  # 1 - cos of the proposal
    c = k * (excess + away)
    accepted = (c * (2 - c) > height) | (torch.log(c / height) + 1 - c >= 0)
    first = accepted.to(k.dtype).argmax(1, keepdim=True)
    away, sign = away.gather(1, first)[:, 0], sign.gather(1, first)[:, 0]
    size = 2 * torch.asin((away / 2).clamp(0, 1).sqrt())
    return torch.where(sign < 0.5, -size, size)
