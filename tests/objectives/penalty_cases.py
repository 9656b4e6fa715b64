"""Penalties with what they are in terms of the two Jacobians. A new one is one line in `CASES`."""

import numpy as np
import torch
from torch import Tensor

from lightning_flows.objectives import ContourInformation, Isometry, OffDiagonal, Tikhonov
from proofs.penalty import PenaltyCase

DECODER, ENCODER = "cusp of the decoder", "cusp of the encoder"


def squared_norm(f: Tensor, g: Tensor) -> Tensor:
    return f.square().sum((1, 2))


def off_diagonal(f: Tensor, g: Tensor) -> Tensor:
    gram = g.mT @ g
    return (gram * (1 - torch.eye(gram.shape[1]).to(gram))).abs().sum((1, 2))


def contours(f: Tensor, g: Tensor) -> Tensor:
    return g.norm(dim=1).log().sum(1) - 0.5 * torch.logdet(g.mT @ g)


def isometry(f: Tensor, g: Tensor) -> Tensor:
    """Over the sphere in three dimensions, by Gauss-Legendre quadrature and equal angles."""
    heights, weights = np.polynomial.legendre.leggauss(40)
    angles = 2 * np.pi * np.arange(80) / 80
    radii = np.sqrt(1 - heights**2)
    grid = [np.outer(radii, np.cos(angles)), np.outer(radii, np.sin(angles))]
    v = torch.as_tensor(np.stack([*grid, np.tile(heights[:, None], 80)], -1)).to(g).flatten(0, 1)
    w = torch.as_tensor(np.repeat(weights / 160, 80)).to(g)
    lengths = torch.einsum("bij,nj->bni", g, v).norm(dim=2)
    return (lengths - 1).square() @ w


CASES: dict[str, PenaltyCase] = {
    "tikhonov": PenaltyCase(Tikhonov(1.5, None), squared_norm, (ENCODER,)),
    "tikhonov by probes": PenaltyCase(Tikhonov(0.7, 2), squared_norm, (ENCODER,)),
    "off diagonal": PenaltyCase(OffDiagonal(2.0), off_diagonal, (DECODER,)),
    "principal": PenaltyCase(ContourInformation(0.5), contours, (DECODER, "dead column")),
    "isometry": PenaltyCase(Isometry(1.3, 2), isometry, (DECODER,)),
}
