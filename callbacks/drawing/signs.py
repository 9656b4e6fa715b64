"""Signs of components, arbitrary in themselves, that make the drawings of a run coherent."""

from collections.abc import Mapping
from dataclasses import fields

import torch
from torch import Tensor

from lightning_flows.components.alignment import align
from lightning_flows.components.results import Components

__all__ = ["beside", "shown", "signs"]


def shown(found: Mapping[str, Tensor]) -> Components:
    """The first k components, k being the number of axes, from fields that may hold more."""
    k = found["axes"].shape[1]
    parts = {field.name: found[field.name] for field in fields(Components)}
    for name in ("scales", "variances", "error"):
        parts[name] = parts[name][:, :k]
    return Components(**parts)


def signs(found: Components, last: Components | None) -> Tensor:
    """Signs such that axes agree with those of the last drawing, or else between neighbors.

    Args:
        found: k components at n points.
        last: those of the last drawing at the same points, or None.

    Returns:
        1 or -1, (n, k).
    """
    # gap=0: where scales are nearly equal axes are drawn as they are, not rotated
    turned = align(found, gap=0.0).rotations.diagonal(dim1=1, dim2=2)
    if last is not None:
        cosines = (found.axes * last.axes).flatten(2).sum(2)
        turned = torch.where(cosines.isfinite(), cosines, turned)
    return torch.where(turned < 0, -1.0, 1.0)


def beside(values: Tensor, tensor: Tensor) -> Tensor:
    """Values for each point and component, (n, k), shaped to go with (n, k, ...)."""
    return values.view(*values.shape, *[1] * (tensor.ndim - 2))
