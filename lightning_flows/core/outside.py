"""Log-densities of points of which some lie outside of the support."""

from collections.abc import Callable

import torch
from torch import Tensor

from lightning_flows.core.support import REAL, Support

__all__ = ["log_prob_inside", "replace_outside"]


def log_prob_inside(support: Support, x: Tensor, log_prob: Callable[[Tensor], Tensor]) -> Tensor:
    """Log-density of points that may lie outside of the support: -inf there.

    What lies outside is replaced by a point inside before it is scored, so that it disturbs
    neither values nor gradients of the other rows. A NaN stays NaN. For all reals nothing is
    checked or replaced: there NaN stays NaN as well, and an infinite entry gives -inf or NaN.

    Args:
        support: set that points must lie in.
        x: points, (batch, *event).
        log_prob: gives log-densities (batch,), in nats, of points inside.
    """
    if support == REAL:
        return log_prob(x)
    safe, inside, outside = replace_outside(support, x)
    scores = log_prob(safe)
    return torch.where(inside, scores, outside.to(scores.dtype))


def replace_outside(support: Support, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Points with a point inside in place of those that are not.

    Returns:
        Points (batch, *event), which rows were inside (batch,), and the log-density of the others,
        (batch,): NaN for a row that holds a NaN, else -inf.
    """
    inside = support.contains(x)
    safe = torch.where(inside.reshape(-1, *[1] * (x.ndim - 1)), x, support.point(x))
    return safe, inside, torch.where(x.isnan().flatten(1).any(1), torch.nan, -torch.inf)
