"""Curves and surfaces with normal noise around them, whose density in the plane is known."""

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Generator, Tensor

from lightning_flows.datamodules import Arrays

from .tables import in_memory

__all__ = ["NOISY", "Noisy"]

CHUNK = 256  # points whose density is computed at a time


@dataclass(frozen=True)
class Noisy:
    """x = g(t) + σε with ε ~ N(0, I_D).

    Args:
        embed: the map g, (n, d) -> (n, D).
        features: D.
        latents: d.
        ends: of a coordinate t that is uniform between them; standard normal where None.
        nodes: of the quadrature, for each coordinate.
        sigma: standard deviation σ of the noise.
    """

    embed: Callable[[Tensor], Tensor]
    features: int
    latents: int
    ends: tuple[float, float] | None
    nodes: int
    sigma: float = 0.3

    def draw(self, n: int, seed: int) -> Tensor:
        """Points, (n, D), in double precision."""
        generator = Generator().manual_seed(seed)
        t = torch.randn(n, self.latents, generator=generator, dtype=torch.float64)
        if self.ends is not None:
            low, high = self.ends
            t = low + (high - low) * torch.special.ndtr(t)
        noise = torch.randn(n, self.features, generator=generator, dtype=torch.float64)
        return self.embed(t) + self.sigma * noise

    def data(self, train: int, batch: int, seed: int, *, val: int = 256) -> Arrays:
        """A data module of points in single precision."""
        x = self.draw(train + val, seed).float()
        return in_memory({"train": x[:train], "val": x[train:]}, batch, seed)

    def log_prob(self, x: Tensor) -> Tensor:
        """Log-density by quadrature over t: (n, D) -> (n,), nats, in double precision."""
        low, high = (-7.0, 7.0) if self.ends is None else self.ends
        at = torch.linspace(low, high, self.nodes, dtype=torch.float64)
        t = torch.cartesian_prod(*[at] * self.latents).reshape(-1, self.latents)
        weight = self.latents * math.log(float(at[1] - at[0]))
        if self.ends is None:
            log_p = torch.distributions.Normal(0.0, 1.0).log_prob(t).sum(1) + weight
        else:  # the ends of a period are one point
            t = t[(t < high).all(1)]
            log_p = torch.full((len(t),), weight - self.latents * math.log(high - low))
        centers = self.embed(t)
        constant = self.features * (math.log(self.sigma) + 0.5 * math.log(2 * math.pi))
        found = []
        for rows in x.double().split(CHUNK):
            distance = torch.cdist(rows, centers).square()
            found.append((log_p - distance / (2 * self.sigma**2)).logsumexp(1) - constant)
        return torch.cat(found)


def _sine(t: Tensor) -> Tensor:
    return torch.cat([t, (1.7 * t).sin()], 1)


def _circle(t: Tensor) -> Tensor:
    return 2 * torch.cat([t.cos(), t.sin()], 1)


def _sheet(t: Tensor) -> Tensor:
    a, b = t.unbind(1)
    return torch.stack([a, b, (1.7 * a).sin(), 0.5 * b.square(), 0.5 * a * b], 1)


NOISY = {
    "sine": Noisy(_sine, 2, 1, None, 1401),
    "circle": Noisy(_circle, 2, 1, (0.0, 2 * math.pi), 721),
    "sheet": Noisy(_sheet, 5, 2, None, 141),
}
"""(t, sin 1.7t); a circle of radius 2; (a, b, sin 1.7a, b²/2, ab/2) with normal a and b."""
