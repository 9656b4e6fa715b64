"""Conjugate gradients for batches of positive definite systems."""

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor

__all__ = ["Solution", "conjugate_gradients"]


class Solution(NamedTuple):
    """What conjugate gradients found.

    Args:
        solution: (k, batch, d).
        residuals: relative residual of every system, (k, batch), recomputed at the end.
        iterations: how many products with the matrix it took.
    """

    solution: Tensor
    residuals: Tensor
    iterations: int


@torch.no_grad()
def conjugate_gradients(
    product: Callable[[Tensor], Tensor],
    rhs: Tensor,
    *,
    tolerance: float,
    max_iterations: int | None = None,
) -> Solution:
    """Solve A w = v for every probe of every sample, until each of them has converged.

    Systems that have converged are frozen, so that rounding does not spoil them while the others
    go on. A system that is not converged after `max_iterations` is returned as it is: its residual
    says so.

    Args:
        product: multiplies with the matrices, (k, batch, d) -> (k, batch, d).
        rhs: right-hand sides v, (k, batch, d).
        tolerance: relative residual ‖A w - v‖ / ‖v‖ at which a system has converged.
        max_iterations: products after which to give up; 4 d + 20 by default, since in finite
            precision more than d are needed where A is badly conditioned.
    """
    limit = 4 * rhs.shape[2] + 20 if max_iterations is None else max_iterations
    solution = torch.zeros_like(rhs)
    residual = direction = rhs
    energy = (residual * residual).sum(2, keepdim=True)
    target = tolerance**2 * energy
    iterations = 0
    while bool((energy > target).any()) and iterations < limit:
        image = product(direction)
        curvature = (direction * image).sum(2, keepdim=True)
        running = (energy > target) & (curvature > 0)
        step = torch.where(running, energy / curvature, 0.0)
        solution = solution + step * direction
        residual = residual - step * image
        following = (residual * residual).sum(2, keepdim=True)
        direction = torch.where(running, residual + following / energy * direction, direction)
        energy = torch.where(running, following, energy)
        iterations += 1
        if not running.any():
            break
    gap = product(solution) - rhs
    residuals = (gap.norm(dim=2) / rhs.norm(dim=2)).nan_to_num(torch.inf)
    return Solution(solution, residuals, iterations + 1)
