"""Which latents explain the data, and what it costs to keep only some of them.

For any encoder and decoder whose latents are standard normal; `flows.truncate` then gives the
smaller flow.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from lightning_flows.components.dimension import shrinkage
from lightning_flows.core.errors import DataError, ShapeError
from lightning_flows.core.shapes import sum_event
from lightning_flows.jacobians.log_volume import log_diagonal, triangle
from lightning_flows.jacobians.products import cotangents, jacobian

__all__ = ["LatentOrder", "TruncationCurve", "latent_order", "truncation_curve"]

Map = Callable[[Tensor], Tensor]


@dataclass(frozen=True)
class LatentOrder:
    """Directions of the latent space, the one that explains most first.

    Args:
        directions: orthonormal columns, (latents, latents), double precision.
        entropies: of the curve that each direction traces out in data space, (latents,), nats;
            descending.
    """

    directions: Tensor
    entropies: Tensor


@torch.no_grad()
def latent_order(
    decode: Map, z: Tensor, *, rotate: bool = True, chunk_size: int | None = None
) -> LatentOrder:
    """Order latents, or directions of the latent space, by the entropy they explain.

    The entropy of a direction r is the manifold entropy of that latent alone,
    H_r = E[-log N(rᵀz; 0, 1) + log‖J r‖] with J the decoder's Jacobian (Galperin and Köthe,
    arXiv 2410.19426; `manifold_entropy`); flows whose latents are ordered by it can be cut after
    training (arXiv 2602.06940).

    A standard normal prior has no axes of its own, so that training may leave latents rotated, and
    then no single one explains much. With `rotate`, directions are the eigenvectors of the mean
    pullback metric E[JᵀJ], for linear decoders the principal components; where columns of J are
    orthogonal at every point, these are the latents themselves. It undoes one rotation for all
    points; latents that are entangled in other ways at other points stay so.

    Args:
        decode: latents to data, (batch, *latent) to (batch, *event), row by row.
        z: latents of data, (batch, *latent). Rows where J is not finite are left out.
        rotate: whether to rotate, or to order the latents as they are.
        chunk_size: latents to differentiate by at a time; None takes all at once.

    Raises:
        DataError: no row is left.
    """
    j = jacobian(decode, z, chunk_size=chunk_size).double()
    sound = j.isfinite().all(2).all(1)
    if not sound.any():
        raise DataError(
            f"The decoder's Jacobian is finite at none of {len(z)} latents; an order takes one row."
        )
    j, z = j[sound], z.flatten(1)[sound].double()
    directions = torch.eye(z.shape[1]).to(j)
    if rotate:
        directions = torch.linalg.eigh((j.mT @ j).mean(0)).eigenvectors
    lengths = (j @ directions).norm(dim=1)
    energy = 0.5 * (z @ directions).square() + 0.5 * math.log(2 * math.pi)
    entropies = (energy + lengths.log()).mean(0)
    # entropies of latents that vanish somewhere are -inf, all alike
    widest = lengths.square().mean(0).argsort(descending=True, stable=True)
    order = widest[entropies[widest].argsort(descending=True, stable=True)]
    return LatentOrder(directions[:, order], entropies[order])


@dataclass(frozen=True)
class TruncationCurve:
    """What is lost where only the first k directions of the latents are kept, k = 0 to d.

    Args:
        error: mean of ‖x - decode(R Rᵀ encode(x))‖² with R the first k directions, (d + 1,).
            `encode` need not be the orthogonal projection onto the smaller manifold, so it is an
            upper bound of the mean squared distance from it.
        nll: mean of -log p(x) in data space, (d + 1,), nats: prior of the k coordinates,
            ½ log det P Pᵀ with P their Jacobian, and the residual as Gaussian noise of variance
            error / (D - k), its maximum likelihood estimate (`InjectiveFlow.ambient_log_prob` with
            that β). It is comparable over k as far as that density has mass 1.
    """

    error: Tensor
    nll: Tensor

    def dimension(
        self,
        *,
        tikhonov: float = 0.0,
        noise: float = 0.0,
        threshold: float = 5.0,
        relative: float = 1e-3,
    ) -> int:
        """Number of latents up to the last one that counts.

        The k-th latent counts if it lowers the error, error[k - 1] - error[k], by more than
        `threshold` · 2α; without a Tikhonov term and noise, by more than `relative` times the
        largest such gain. These are the rule and the constants of `SpannedDimension`: a latent
        that only stores noise of variance 2α lowers the squared error by about 2α.

        It is the dimension of the manifold only where the flow needs no more latents than that. A
        continuous encoder and decoder need three for a sphere or a torus, which have no place in
        the plane.

        Args:
            tikhonov: weight α of the Tikhonov term that the flow was trained with.
            noise: the same said by the standard deviation of noise on its data, 2α = σ².
            threshold: multiple of 2α, with `tikhonov` or `noise`.
            relative: fraction of the largest gain, without.

        Raises:
            DataError: an error is not finite.
        """
        if not self.error.isfinite().all():
            raise DataError("The curve holds errors that are not finite, so it has no dimension.")
        gains = self.error[:-1] - self.error[1:]
        floor = shrinkage(tikhonov, noise)
        least = threshold * floor if floor else relative * gains.max().item()
        counts = (gains > least).nonzero()
        return int(counts[-1].item()) + 1 if len(counts) else 0


@torch.no_grad()
def truncation_curve(
    encode: Map, decode: Map, x: Tensor, directions: Tensor | None = None
) -> TruncationCurve:
    """Reconstruction error and likelihood against the number of latents kept.

    Args:
        encode: data to latents, (batch, *event) to (batch, *latent), row by row.
        decode: latents to data, row by row.
        x: data, (batch, *event); best such that neither flow nor directions were fitted to.
        directions: orthonormal columns, (latents, d), those to be kept first in front;
            `directions` of `latent_order`. By default the latents in their own order.

    Raises:
        DataError: no rows.
        ShapeError: directions of another number of latents.
    """
    if not len(x):
        raise DataError("x has no rows; a truncation curve is a mean over at least one.")
    z = encode(x)
    shape, latents = z.shape[1:], z.shape[1:].numel()
    turn = torch.eye(latents) if directions is None else directions
    turn = turn.to(z)
    if turn.ndim != 2 or len(turn) != latents:
        raise ShapeError(
            f"directions have shape {tuple(turn.shape)}; expected is ({latents}, up to {latents})."
        )
    d, n = turn.shape[1], x.shape[1:].numel()
    columns = turn.mT.reshape(d, 1, *shape).expand(d, len(x), *shape)
    rows = cotangents(encode, x, columns)[1].flatten(2).double()
    r = triangle(rows.permute(1, 2, 0))
    u = z.flatten(1) @ turn
    error, nll = [], []
    for k in range(d + 1):
        x_hat = decode((u[:, :k] @ turn[:, :k].mT).reshape(z.shape))
        error.append(sum_event((x - x_hat).double().square()).mean())
        prior = 0.5 * u[:, :k].double().square().sum(1) + 0.5 * k * math.log(2 * math.pi)
        on_manifold = (prior - log_diagonal(r[:, :k, :k], n)).nanmean()
        nll.append(on_manifold + _gaussian_entropy(error[-1], n - k))
    return TruncationCurve(torch.stack(error), torch.stack(nll))


def _gaussian_entropy(error: Tensor, n: int) -> Tensor:
    """That of n independent residuals whose squares sum to `error` in the mean, nats."""
    return 0.5 * n * (2 * math.pi * math.e * error / n).log() if n else torch.zeros_like(error)
