"""Signs of components, arbitrary in themselves, that make the drawings of a run coherent."""

from dataclasses import fields

import torch
from torch import Tensor

from lightning_flows.jacobians.alignment import align
from lightning_flows.jacobians.components import Components

__all__ = ["beside", "cosines", "signs"]


def signs(found: dict[str, Tensor], last: Tensor | None) -> Tensor:
    """Signs such that axes agree with those of the last drawing, or else between neighbours.

    Args:
        found: fields of `Components`, those of n points and k axes.
        last: axes of the last drawing at the same points, or None.

    Returns:
        1 or -1, (n, k).
    """
    k = found["axes"].shape[1]
    parts = {field.name: found[field.name] for field in fields(Components)}
    for name in ("scales", "variances", "error"):
        parts[name] = parts[name][:, :k]
    # gap=0: where scales are nearly equal axes are drawn as they are, not rotated
    turned = align(Components(**parts), gap=0.0).rotations.diagonal(dim1=1, dim2=2)
    if last is not None:
        kept = cosines(found["axes"], last)
        turned = torch.where(kept.isfinite(), kept, turned)
    return torch.where(turned < 0, -1.0, 1.0)


def cosines(axes: Tensor, others: Tensor) -> Tensor:
    """Cosines between axes of the same rank at the same points: (n, k, *event) -> (n, k)."""
    return (axes * others).flatten(2).sum(2)


def beside(values: Tensor, tensor: Tensor) -> Tensor:
    """Values for each point and component, (n, k), shaped to go with (n, k, ...)."""
    return values.view(*values.shape, *[1] * (tensor.ndim - 2))
