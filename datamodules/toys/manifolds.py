"""Toy distributions on curves and surfaces, with their densities on them.

A density takes a point to lie on the manifold (a point beside it is moved there along the radius
or axis that its parametrization uses) and does not depend on the noise.
"""

import math

import torch
from torch import Generator, Tensor

from .directions import around, log_von_mises_fisher
from .toy_set import ToySet, gaussian, uniform

__all__ = ["MANIFOLDS"]

_ROLL_SCALE = 5.0  # the swiss roll has radius t / 5, where t is its angle
_ROLL_START, _ROLL_END = 1.5 * math.pi, 4.5 * math.pi
_ROLL_HALF_WIDTH = 2.0
_CURVE_END, _CURVE_HALF_WIDTH = 1.5 * math.pi, 1.0
_SPHERE_CENTERS = torch.tensor(
    [(1, 1, 1), (1, -1, -1), (-1, 1, -1), (-1, -1, 1)], dtype=torch.float64
) / math.sqrt(3)
_SPHERE_CONCENTRATION = 4.0
_TORUS_MAJOR, _TORUS_MINOR = 1.5, 0.6
_CIRCLE_CONCENTRATION = 2.0
_SINE_FREQUENCY = 1.7  # curvature up to 2.9: its radius exceeds the noise of 0.3
_ROUNDING = 1e-4  # how far beyond an edge a point in float32 may seem to lie


def _swiss_roll(n: int, noise: float, generator: Generator) -> Tensor:
    angle = uniform(n, _ROLL_START, _ROLL_END, generator)
    width = uniform(n, -_ROLL_HALF_WIDTH, _ROLL_HALF_WIDTH, generator)
    radius = angle / _ROLL_SCALE
    points = torch.stack([radius * angle.cos(), width, radius * angle.sin()], 1)
    return gaussian(points, noise, generator)


def _swiss_roll_log_prob(x: Tensor, noise: float) -> Tensor:
    angle = _ROLL_SCALE * x[:, [0, 2]].norm(dim=1)
    log_speed = (1 + angle**2).log() / 2 - math.log(_ROLL_SCALE)
    log_uniform = -math.log((_ROLL_END - _ROLL_START) * 2 * _ROLL_HALF_WIDTH)
    inside = (angle - _ROLL_START > -_ROUNDING) & (angle - _ROLL_END < _ROUNDING)
    inside &= x[:, 1].abs() < _ROLL_HALF_WIDTH + _ROUNDING
    return torch.where(inside, log_uniform - log_speed, -math.inf)


def _s_curve(n: int, noise: float, generator: Generator) -> Tensor:
    angle = uniform(n, -_CURVE_END, _CURVE_END, generator)
    width = uniform(n, -_CURVE_HALF_WIDTH, _CURVE_HALF_WIDTH, generator)
    points = torch.stack([angle.sin(), width, angle.sign() * (angle.cos() - 1)], 1)
    return gaussian(points, noise, generator)


def _s_curve_log_prob(x: Tensor, noise: float) -> Tensor:
    # unit speed: uniform. Of each circle of the S three quarters are there
    above = x[:, 2] * x[:, 0] > 0
    missing = above & (x[:, 2].abs() < 1 - _ROUNDING)
    inside = ~missing & (x[:, 1].abs() < _CURVE_HALF_WIDTH + _ROUNDING)
    log_uniform = -math.log(2 * _CURVE_END * 2 * _CURVE_HALF_WIDTH)
    return torch.where(inside, log_uniform, -math.inf).to(x)


def _sphere(n: int, noise: float, generator: Generator) -> Tensor:
    """Four von Mises-Fisher bumps at the corners of a tetrahedron."""
    center = _SPHERE_CENTERS[torch.randint(4, (n,), generator=generator)]
    return gaussian(around(center, _SPHERE_CONCENTRATION, generator), noise, generator)


def _sphere_log_prob(x: Tensor, noise: float) -> Tensor:
    each = log_von_mises_fisher(x, _SPHERE_CENTERS, _SPHERE_CONCENTRATION)
    return each.logsumexp(1) - math.log(4)


def _torus(n: int, noise: float, generator: Generator) -> Tensor:
    """Uniform in both angles, so denser on the inner side."""
    around = uniform(n, 0, 2 * math.pi, generator)
    tube = uniform(n, 0, 2 * math.pi, generator)
    radius = _TORUS_MAJOR + _TORUS_MINOR * tube.cos()
    height = _TORUS_MINOR * tube.sin()
    points = torch.stack([radius * around.cos(), radius * around.sin(), height], 1)
    return gaussian(points, noise, generator)


def _torus_log_prob(x: Tensor, noise: float) -> Tensor:
    outwards: Tensor = x[:, :2].norm(dim=1) - _TORUS_MAJOR
    cosine = outwards / torch.hypot(outwards, x[:, 2])
    radius: Tensor = _TORUS_MAJOR + _TORUS_MINOR * cosine
    return -(4 * math.pi**2 * _TORUS_MINOR * radius).log()


def _von_mises_circle(n: int, noise: float, generator: Generator) -> Tensor:
    """Unit circle, densest at angle 0; angles by rejection from the uniform distribution."""
    accepted = torch.empty(0, dtype=torch.float64)
    while len(accepted) < n:
        angle = uniform(4 * n, -math.pi, math.pi, generator)
        keep = uniform(4 * n, 0, 1, generator).log() < _CIRCLE_CONCENTRATION * (angle.cos() - 1)
        accepted = torch.cat([accepted, angle[keep]])
    angle = accepted[:n]
    return gaussian(torch.stack([angle.cos(), angle.sin()], 1), noise, generator)


def _von_mises_circle_log_prob(x: Tensor, noise: float) -> Tensor:
    cosine: Tensor = x[:, 0] / x.norm(dim=1)
    scaled_bessel = torch.special.i0e(torch.tensor(_CIRCLE_CONCENTRATION, dtype=x.dtype))
    log_normalizer: Tensor = (2 * math.pi * scaled_bessel).log()
    return _CIRCLE_CONCENTRATION * (cosine - 1) - log_normalizer


def _noisy_sine(n: int, noise: float, generator: Generator) -> Tensor:
    """(t, sin 1.7 t) with a standard normal t."""
    t = torch.randn(n, generator=generator, dtype=torch.float64)
    return gaussian(torch.stack([t, (_SINE_FREQUENCY * t).sin()], 1), noise, generator)


def _noisy_sine_log_prob(x: Tensor, noise: float) -> Tensor:
    t = x[:, 0]
    log_speed = (1 + (_SINE_FREQUENCY * (_SINE_FREQUENCY * t).cos()) ** 2).log() / 2
    return -(t**2) / 2 - math.log(2 * math.pi) / 2 - log_speed


MANIFOLDS = {
    "swiss_roll": ToySet(_swiss_roll, _swiss_roll_log_prob, 3, 2, noise=0.0),
    "s_curve": ToySet(_s_curve, _s_curve_log_prob, 3, 2, noise=0.0),
    "sphere": ToySet(_sphere, _sphere_log_prob, 3, 2, noise=0.0),
    "torus": ToySet(_torus, _torus_log_prob, 3, 2, noise=0.0),
    "noisy_sine": ToySet(_noisy_sine, _noisy_sine_log_prob, 2, 1, noise=0.3),
    "von_mises_circle": ToySet(_von_mises_circle, _von_mises_circle_log_prob, 2, 1, noise=0.0),
}
