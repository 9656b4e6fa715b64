"""Densities of numbers from zero up, and of numbers that are often exactly zero."""

import math

import torch
from torch import Tensor
from torch.nn import functional as F

from lightning_flows.bases.conditional import Scaled
from lightning_flows.core.noise import normal_noise, uniform_noise
from lightning_flows.core.support import POSITIVE, RECTIFIED

__all__ = ["HalfNormal", "ZeroInflated"]


class HalfNormal(Scaled):
    """Absolute values of normal numbers with mean zero; their scales are learned.

    Arguments are those of `Scaled`.
    """

    parameters_each = 1
    support = POSITIVE

    def log_prob_each(self, x: Tensor, context: Tensor | None = None) -> Tensor:
        (log_scale,) = self.parameters_at(len(x), context)
        return _half_normal(x, log_scale)

    def draw(self, n: int, context: Tensor | None = None, temperature: float = 1.0) -> Tensor:
        (log_scale,) = self.parameters_at(n, context)
        return temperature * log_scale.exp() * normal_noise(log_scale.shape, log_scale).abs()


class ZeroInflated(Scaled):
    """Each entry is exactly zero with a learned probability, and half-normal otherwise.

    The density is one with respect to length plus a point mass of one at zero. It is what may
    follow a `ReLU`, whose output holds exact zeros.

    Arguments are those of `Scaled`.
    """

    parameters_each = 2
    support = RECTIFIED

    @property
    def reparametrized(self) -> bool:
        return False

    def log_prob_each(self, x: Tensor, context: Tensor | None = None) -> Tensor:
        logit, log_scale = self.parameters_at(len(x), context)
        positive = F.logsigmoid(-logit) + _half_normal(x, log_scale)
        return torch.where(x == 0, F.logsigmoid(logit), positive)

    def draw(self, n: int, context: Tensor | None = None, temperature: float = 1.0) -> Tensor:
        logit, log_scale = self.parameters_at(n, context)
        zero = uniform_noise(logit.shape, logit) < torch.sigmoid(logit)
        values = temperature * log_scale.exp() * normal_noise(logit.shape, logit).abs()
        return torch.where(zero, 0.0, values)


def _half_normal(x: Tensor, log_scale: Tensor) -> Tensor:
    """Log-density of every entry, -inf below zero."""
    z = x * torch.exp(-log_scale)
    log_density = -0.5 * z.square() - log_scale + 0.5 * math.log(2 / math.pi)
    return torch.where(x < 0, -torch.inf, log_density)
