"""Normals of surfaces in space: what the last component of a flow should be."""

import math
from collections.abc import Callable

import torch
from torch import Tensor

from lightning_flows.components import Components

__all__ = ["NORMALS", "normal_cosines"]


def _swiss_roll_normal(x: Tensor) -> Tensor:
    radius, angle = 5 * x[:, [0, 2]].norm(dim=1), torch.atan2(x[:, 2], x[:, 0])
    turn = 2 * math.pi
    angle = angle + turn * ((radius - angle) / turn).round()  # the turn that the radius tells
    across = -(angle.sin() + angle * angle.cos())
    return torch.stack([across, torch.zeros_like(angle), angle.cos() - angle * angle.sin()], 1)


def _s_curve_normal(x: Tensor) -> Tensor:
    """Away from the nearer of the two circles' centers, (0, ±1)."""
    return torch.stack([x[:, 0], torch.zeros_like(x[:, 1]), x[:, 2] - x[:, 2].sign()], 1)


def _torus_normal(x: Tensor) -> Tensor:
    """Away from the circle of radius 1.5 inside the tube."""
    across = x[:, :2]
    center = 1.5 * across / across.norm(dim=1, keepdim=True)
    return torch.cat([across - center, x[:, 2:]], 1)


NORMALS: dict[str, Callable[[Tensor], Tensor]] = {
    "s_curve": _s_curve_normal,
    "swiss_roll": _swiss_roll_normal,
    "sphere": lambda x: x,
    "torus": _torus_normal,
}
"""Normals of the surfaces of `Toy` at points on them or close by, of any length: (n, 3)."""


def normal_cosines(found: Components, name: str) -> Tensor:
    """|cos| between the last axis and the normal of a surface, (n,)."""
    true = torch.nn.functional.normalize(NORMALS[name](found.points), dim=1)
    cosines: Tensor = (found.axes[:, -1] * true).sum(1).abs()
    return cosines
