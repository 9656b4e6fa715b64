"""Toy distributions on known manifolds: sphere, torus and simplex.

A density takes a point to lie on the manifold and does not depend on the noise.
"""

import math

import numpy as np
import torch
from torch import Generator, Tensor

from lightning_flows.core.angles import wrapped

from .toy_set import ToySet, gaussian, uniform

__all__ = ["DIRECTIONS", "around", "log_von_mises_fisher"]

_CENTER = torch.tensor([[1.0, 1.0, 1.0]], dtype=torch.float64) / math.sqrt(3)
_CONCENTRATION = 10.0
_ANGLES = torch.tensor([math.pi, 0.0], dtype=torch.float64)  # half of the points beyond the seam
_ROOT = torch.tensor([[0.8, 0.0], [0.4, 0.5]], dtype=torch.float64)
_TURNS = torch.cartesian_prod(torch.arange(-3, 4), torch.arange(-3, 4)) * 2 * math.pi
_DIRICHLET = torch.tensor([0.6, 1.5, 4.0], dtype=torch.float64)


def around(center: Tensor, concentration: float, generator: Generator) -> Tensor:
    """Points of von Mises-Fisher distributions on the sphere, one for each center: (n, 3)."""
    share = uniform(len(center), 0, 1, generator)
    floor = math.exp(-2 * concentration)
    along = 1 + (share + (1 - share) * floor).log() / concentration
    direction = torch.randn(center.shape, generator=generator, dtype=torch.float64)
    direction = direction - (direction * center).sum(1, keepdim=True) * center
    direction = direction / direction.norm(dim=1, keepdim=True)
    across = (1 - along**2).clamp_min(0).sqrt()
    points: Tensor = along[:, None] * center + across[:, None] * direction
    return points


def log_von_mises_fisher(x: Tensor, centers: Tensor, concentration: float) -> Tensor:
    """Log-densities around each center, at points moved to the sphere: (n, centers)."""
    cosine: Tensor = (x / x.norm(dim=1, keepdim=True)) @ centers.to(x).T
    k = concentration
    return k * (cosine - 1) - math.log(2 * math.pi * (1 - math.exp(-2 * k)) / k)


def _von_mises_fisher(n: int, noise: float, generator: Generator) -> Tensor:
    return gaussian(around(_CENTER.expand(n, 3), _CONCENTRATION, generator), noise, generator)


def _wrapped_normal(n: int, noise: float, generator: Generator) -> Tensor:
    """Two correlated angles around (π, 0)."""
    normal = torch.randn(n, 2, generator=generator, dtype=torch.float64) @ _ROOT.T
    return wrapped(gaussian(_ANGLES + normal, noise, generator))


def _wrapped_normal_log_prob(x: Tensor, noise: float) -> Tensor:
    turned = (x - _ANGLES.to(x))[:, None] + _TURNS.to(x)
    z = torch.linalg.solve_triangular(_ROOT.to(x), turned.mT, upper=False)
    log_scale = _ROOT.diagonal().log().sum() + math.log(2 * math.pi)
    return torch.logsumexp(-z.square().sum(1) / 2, 1) - log_scale.to(x)


def _dirichlet(n: int, noise: float, generator: Generator) -> Tensor:
    seed = int(torch.randint(2**31, (), generator=generator))
    points = np.random.default_rng(seed).dirichlet(_DIRICHLET.numpy(), n)
    return gaussian(torch.from_numpy(points), noise, generator)


def _dirichlet_log_prob(x: Tensor, noise: float) -> Tensor:
    """With respect to area on the simplex, which is √3 times that of two entries."""
    alpha = _DIRICHLET.to(x)
    shares = (x / x.sum(1, keepdim=True)).clamp(min=torch.finfo(x.dtype).tiny)
    normalizer = alpha.lgamma().sum() - alpha.sum().lgamma()
    return ((alpha - 1) * shares.log()).sum(1) - normalizer - math.log(3) / 2


DIRECTIONS = {
    "von_mises_fisher": ToySet(
        _von_mises_fisher,
        lambda x, noise: log_von_mises_fisher(x, _CENTER, _CONCENTRATION)[:, 0],
        3,
        2,
        noise=0.0,
    ),
    "wrapped_normal": ToySet(_wrapped_normal, _wrapped_normal_log_prob, 2, 2, noise=0.0),
    "dirichlet": ToySet(_dirichlet, _dirichlet_log_prob, 3, 2, noise=0.0),
}
