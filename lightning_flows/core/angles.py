"""Angles in radians: one number for each point of a circle."""

import math

import torch
from torch import Tensor

__all__ = ["wrapped"]


def wrapped(angles: Tensor) -> Tensor:
    """The same points of the circle with angles in [-π, π]; the slope is 1 everywhere."""
    return angles - 2 * math.pi * torch.round(angles / (2 * math.pi))
