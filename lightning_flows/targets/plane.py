"""Targets in the plane: separate modes, and a thin curved one."""

import math

import torch
from torch import Tensor
from torch.nn import functional as F

from lightning_flows.core.errors import check_finite, check_least, check_positive
from lightning_flows.core.noise import normal_noise, uniform_noise
from lightning_flows.targets.base import Target

__all__ = ["Banana", "Ring"]


class Ring(Target):
    """Equal round normals on a circle in the plane, mass 1.

    A density that misses k of n modes has a reverse Kullback-Leibler divergence of only
    log(n / (n - k)) nats, so that training may leave them out.

    Args:
        modes: number of normals.
        radius: of the circle.
        scale: standard deviation of each normal.

    Raises:
        ConfigError: no mode, or a radius or scale that is not positive.
    """

    centers: Tensor

    def __init__(self, modes: int = 8, *, radius: float = 4.0, scale: float = 0.5) -> None:
        check_least(1, modes=modes)
        check_positive(radius=radius, scale=scale)
        super().__init__(2)
        self.scale = scale
        angles = 2 * math.pi * torch.arange(modes, dtype=torch.float64) / modes
        self._as_buffer("centers", radius * torch.stack([angles.cos(), angles.sin()], 1))

    def log_prob(self, x: Tensor, context: Tensor | None = None) -> Tensor:
        z = (x[:, None] - self.centers) / self.scale
        constant = math.log(2 * math.pi * self.scale**2 * len(self.centers))
        return torch.logsumexp(-0.5 * z.square().sum(2), 1) - constant

    def log_evidence(self, context: Tensor | None = None) -> Tensor:
        return self.centers.new_zeros(())

    def draw(self, n: int, context: Tensor | None = None, temperature: float = 1.0) -> Tensor:
        """Draw points; `temperature` is a factor on the scale."""
        modes = len(self.centers)
        which = (modes * uniform_noise((n,), self.centers)).long().clamp(max=modes - 1)
        noise = normal_noise((n, 2), self.centers)
        return F.embedding(which, self.centers) + temperature * self.scale * noise

    def modes_hit(self, x: Tensor) -> Tensor:
        """Share of points next to each mode, (n, 2) to (modes,); it sums to 1."""
        nearest = (x[:, None] - self.centers).square().sum(2).argmin(1)
        return F.one_hot(nearest, len(self.centers)).to(x).mean(0)


class Banana(Target):
    """A normal in the plane, bent along a parabola (Haario, Saksman and Tamminen 1999).

    log p̃(x) = -½ (x₁/s)² - ½ (x₂ - b (x₁² - s²))², log Z = log 2πs.

    Args:
        scale: standard deviation s of the first entry.
        curvature: b.

    Raises:
        ConfigError: a scale that is not positive, or a curvature that is not finite.
    """

    anchor: Tensor

    def __init__(self, *, scale: float = 2.0, curvature: float = 0.5) -> None:
        check_positive(scale=scale)
        check_finite(curvature=curvature)
        super().__init__(2)
        self.scale = scale
        self.curvature = curvature
        self._as_buffer("anchor", torch.zeros(()))  # device and dtype

    def log_prob(self, x: Tensor, context: Tensor | None = None) -> Tensor:
        along = x[:, 0] / self.scale
        across = x[:, 1] - self._bend(x[:, 0])
        return -0.5 * (along.square() + across.square())

    def log_evidence(self, context: Tensor | None = None) -> Tensor:
        return self.anchor + math.log(2 * math.pi * self.scale)

    def draw(self, n: int, context: Tensor | None = None, temperature: float = 1.0) -> Tensor:
        """Draw points; `temperature` is a factor on both standard deviations."""
        noise = temperature * normal_noise((n, 2), self.anchor)
        along = self.scale * noise[:, 0]
        return torch.stack([along, noise[:, 1] + self._bend(along)], 1)

    def _bend(self, along: Tensor) -> Tensor:
        return self.curvature * (along.square() - self.scale**2)
