"""Toy distributions in the plane."""

import math

import torch
from torch import Generator, Tensor

from lightning_flows.core.errors import ConfigError

from .toy_set import ToySet, gaussian, uniform

__all__ = ["PLANE"]

_SQUARES = torch.tensor([(i, j) for i in range(-2, 2) for j in range(-2, 2) if (i + j) % 2 == 0])
_CORNERS = torch.tensor(  # five of nine unit squares in [0, 3] x [0, 3], mirrored at both axes
    [
        (i, j)
        for i in range(-3, 3)
        for j in range(-3, 3)
        if (max(i, -i - 1) + max(j, -j - 1)) % 2 == 0
    ]
)
_ARC = math.pi / 3  # how much of each quadrant an arc of signed_rings spans
_RADII = torch.tensor([0.7, 1.4, 2.1], dtype=torch.float64)


def _moons(n: int, noise: float, generator: Generator) -> Tensor:
    """Two interleaved half circles of radius 1 around (-0.5, -0.25) and (0.5, 0.25)."""
    angle = uniform(n, 0, math.pi, generator)
    side = _signs(n, generator)
    x = side * (angle.cos() - 0.5)
    y = side * (angle.sin() - 0.25)
    return gaussian(torch.stack([x, y], 1), noise, generator)


def _checkerboard(n: int, noise: float, generator: Generator) -> Tensor:
    """Uniform on eight of the sixteen unit squares in [-2, 2] x [-2, 2]."""
    return _on_squares(_SQUARES, n, noise, generator)


def _on_squares(corners: Tensor, n: int, noise: float, generator: Generator) -> Tensor:
    square = corners[torch.randint(len(corners), (n,), generator=generator)]
    inside = torch.rand(n, 2, generator=generator, dtype=torch.float64)
    return gaussian(square + inside, noise, generator)


def _checkerboard_log_prob(x: Tensor, noise: float) -> Tensor:
    return _squares_log_prob(x, _SQUARES, noise)


def _squares_log_prob(x: Tensor, corners: Tensor, noise: float) -> Tensor:
    """Log-density (n,) of points (n, 2), uniform on unit squares (m, 2) of which none overlap."""
    offset = x[:, None] - corners.to(x)  # (n, squares, 2), in [0, 1) inside
    if noise == 0:
        inside = ((offset >= 0) & (offset < 1)).all(2).any(1)
        return torch.where(inside, -math.log(len(corners)), -math.inf).to(x)
    edges: Tensor = torch.special.ndtr(offset / noise) - torch.special.ndtr((offset - 1) / noise)
    return edges.prod(2).mean(1).log()


def _rings(n: int, noise: float, generator: Generator) -> Tensor:
    """Circles of radius 0.7, 1.4 and 2.1 around the origin; the noise is radial."""
    radius = _RADII[torch.randint(len(_RADII), (n,), generator=generator)]
    radius = gaussian(radius, noise, generator)
    angle = uniform(n, 0, 2 * math.pi, generator)
    return radius[:, None] * torch.stack([angle.cos(), angle.sin()], 1)


def _rings_log_prob(x: Tensor, noise: float) -> Tensor:
    if noise == 0:
        raise ConfigError("rings with noise 0 are circles and have no density in the plane.")
    radius = x.norm(dim=1, keepdim=True)
    # a negative radius lands on the opposite side
    distance = torch.cat([radius - _RADII.to(x), radius + _RADII.to(x)], 1)
    log_normalizer = math.log(len(_RADII) * noise * math.sqrt(2 * math.pi))
    along: Tensor = (-((distance / noise) ** 2) / 2).logsumexp(1) - log_normalizer
    around: Tensor = (2 * math.pi * radius[:, 0]).log()
    return along - around


def _signed_rings(n: int, noise: float, generator: Generator) -> Tensor:
    """Arcs of the rings around the middle of each quadrant, alike under changes of sign."""
    radius = _RADII[torch.randint(len(_RADII), (n,), generator=generator)]
    radius = gaussian(radius, noise, generator)
    angle = uniform(n, math.pi / 4 - _ARC / 2, math.pi / 4 + _ARC / 2, generator)
    points = radius[:, None] * torch.stack([angle.cos(), angle.sin()], 1)
    return points * torch.stack([_signs(n, generator), _signs(n, generator)], 1)


def _signed_rings_log_prob(x: Tensor, noise: float) -> Tensor:
    angle = torch.atan2(x[:, 1].abs(), x[:, 0].abs())
    inside = (angle - math.pi / 4).abs() <= _ARC / 2
    return torch.where(inside, _rings_log_prob(x, noise) + math.log(math.pi / 2 / _ARC), -math.inf)


def _corner_checkerboard(n: int, noise: float, generator: Generator) -> Tensor:
    """Uniform on twenty of the unit squares in [-3, 3] x [-3, 3], alike under changes of sign."""
    return _on_squares(_CORNERS, n, noise, generator)


def _corner_checkerboard_log_prob(x: Tensor, noise: float) -> Tensor:
    return _squares_log_prob(x, _CORNERS, noise)


def _spiral(n: int, noise: float, generator: Generator) -> Tensor:
    """Two arms of one and a half turns that reach radius 3."""
    share = uniform(n, 0, 1, generator).sqrt()
    angle, radius = 3 * math.pi * share, 3 * share * _signs(n, generator)
    points = radius[:, None] * torch.stack([-angle.cos(), angle.sin()], 1)
    return gaussian(points, noise, generator)


def _signs(n: int, generator: Generator) -> Tensor:
    return 2.0 * torch.randint(2, (n,), generator=generator) - 1


PLANE = {
    "moons": ToySet(_moons, None, 2, 2, noise=0.1),
    "checkerboard": ToySet(_checkerboard, _checkerboard_log_prob, 2, 2, noise=0.0),
    "corner_checkerboard": ToySet(
        _corner_checkerboard, _corner_checkerboard_log_prob, 2, 2, noise=0.0
    ),
    "signed_rings": ToySet(_signed_rings, _signed_rings_log_prob, 2, 2, noise=0.08),
    "rings": ToySet(_rings, _rings_log_prob, 2, 2, noise=0.08),
    "spiral": ToySet(_spiral, None, 2, 2, noise=0.1),
}
