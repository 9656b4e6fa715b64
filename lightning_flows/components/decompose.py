"""Singular value decompositions of whole Jacobians."""

from typing import NamedTuple

import torch
from torch import Tensor

from lightning_flows.core.errors import ShapeError

__all__ = ["Triples", "from_decoder", "from_encoder"]


class Triples(NamedTuple):
    """Singular triples J v = s u of Jacobians J of a decoder, (D, d), widest first.

    Args:
        axes: u, (batch, n, D).
        scales: s, (batch, n).
        directions: v, (batch, n, d).
        rest: sum of the squares of all other singular values, (batch,); an estimate.
        rest_error: its standard error, (batch,).
        error: bound on the relative error of each scale, (batch, n).
        angle: bound on the largest principal angle between the space of these axes and that of
            the n widest ones, (batch,), radians.
        iterations: how many there were, (batch,).
    """

    axes: Tensor
    scales: Tensor
    directions: Tensor
    rest: Tensor
    rest_error: Tensor
    error: Tensor
    angle: Tensor
    iterations: Tensor


def from_decoder(matrix: Tensor) -> Triples:
    """The min(D, d) triples of J, (batch, D, d), in the precision of the matrix."""
    if matrix.shape[1] <= matrix.shape[2]:  # J Jᵀ = U S² Uᵀ: nothing is divided by a small scale
        squares, axes = torch.linalg.eigh(matrix @ matrix.mT)
        axes = axes.flip(-1)
        directions = _unit(matrix.mT @ axes)
    else:  # Jᵀ J = V S² Vᵀ; the columns of J V are U S, and QR keeps the thin ones orthogonal
        squares, directions = torch.linalg.eigh(matrix.mT @ matrix)
        directions = directions.flip(-1)
        axes, triangle = torch.linalg.qr(matrix @ directions)
        negative = triangle.diagonal(dim1=1, dim2=2) < 0
        axes = torch.where(negative[:, None], -axes, axes)
    return _exact(axes, squares.flip(-1).clamp_min(0).sqrt(), directions)


def from_encoder(matrix: Tensor) -> Triples:
    """The same from E = J⁻¹ = V S⁻¹ Uᵀ, (batch, d, D): Eᵀ E = U S⁻² Uᵀ.

    Where the encoder reduces, d < D, J is the pseudo-inverse of E: the axes stand at right angles
    to what E loses.

    Raises:
        ShapeError: the encoder adds dimensions.
    """
    if matrix.shape[1] > matrix.shape[2]:
        raise ShapeError(
            f"through='encode' needs an encoder that keeps or reduces dimensions; this one takes "
            f"{matrix.shape[2]} dimensions to {matrix.shape[1]}: use through='decode'."
        )
    reduces = matrix.shape[1] < matrix.shape[2]
    gram = matrix @ matrix.mT if reduces else matrix.mT @ matrix
    squares, found = torch.linalg.eigh(gram)  # ascending: the widest comes first
    scales = squares.clamp_min(torch.finfo(squares.dtype).tiny).rsqrt()
    if reduces:
        return _exact(_unit(matrix.mT @ found), scales, found)
    return _exact(found, scales, _unit(matrix @ found))


def _exact(axes: Tensor, scales: Tensor, directions: Tensor) -> Triples:
    """All triples, from columns; what is wrong with them is rounding."""
    none = torch.zeros_like(scales)
    zero = none[:, 0]
    return Triples(axes.mT, scales, directions.mT, zero, zero, none, zero, zero)


def _unit(columns: Tensor) -> Tensor:
    """Columns divided by their lengths; zero where they are."""
    lengths: Tensor = columns.norm(dim=1, keepdim=True)
    return columns / lengths.clamp_min(torch.finfo(columns.dtype).tiny)
