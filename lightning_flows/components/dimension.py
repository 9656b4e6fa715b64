"""Which directions of a density belong to the data, and which only to what training added."""

from torch import Tensor

__all__ = ["count_dimension", "shrinkage"]


def shrinkage(tikhonov: float, noise: float) -> float:
    """By how much each variance is widened: 2α of a Tikhonov term, σ² of noise."""
    return 2 * tikhonov + noise**2


def count_dimension(variances: Tensor, floor: float, threshold: float, relative: float) -> Tensor:
    """Number of variances, (batch, n), above what training widened them by: (batch,).

    Args:
        variances: less the floor.
        floor: the shrinkage of the training.
        threshold: multiple of the floor to exceed.
        relative: fraction of the largest variance to exceed where there is no floor.
    """
    least = threshold * floor if floor else relative * variances.amax(1, keepdim=True)
    return (variances > least).sum(1)
