"""The widest singular triples of many Jacobians at once, from products with them alone."""

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor

from lightning_flows.components.decompose import Triples

__all__ = ["widest"]

BLOCKS = 5  # blocks of directions in the search space before it is compressed
ROUNDING = 4.0  # eps of the largest singular value, times √(D + d), that rounding leaves of zero

Product = Callable[[Tensor], Tensor]


@torch.no_grad()
def widest(
    push: Product,
    pull: Product,
    start: Tensor,
    k: int,
    *,
    tolerance: float,
    max_iterations: int,
) -> Triples:
    """The k widest triples by block Lanczos iteration on JᵀJ with thick restarts.

    The search space grows by a block of directions in each iteration (a block Krylov space);
    where it holds `BLOCKS` blocks it is compressed to its widest half, which loses little since
    the next block goes on from the residuals. Of what lies in the space the triples are the best
    there are (Rayleigh-Ritz). J v = s u holds exactly, and the residuals r = Jᵀu - s v bound what
    is wrong: a singular value lies within ‖r‖ of s, and sin(angle) ≤ ‖R‖₂ / (s_k - s_{k+1})
    (Wedin 1972). For the unknown s_{k+1} stands the next triple in the space, widened by its own
    residual. That no wide direction is missed altogether rests on the random start, as in every
    method that never sees the whole matrix. A triple whose s and s‖r‖ are what rounding leaves of
    the largest s and its square is zero: its error counts as none, and the angle is that of the
    space of the others.

    A point that has converged keeps the triples that it had then, so that its result does not
    depend on the other points of the batch.

    Args:
        push: multiplies with the Jacobians, (batch, n, d) -> (batch, n, D).
        pull: multiplies with their transposes, (batch, n, D) -> (batch, n, d).
        start: the first block, (batch, n, d); n > k unless k = d.
        k: number of triples.
        tolerance: largest relative error of a scale, and largest angle in radians, at which a
            point has converged.
        max_iterations: products of a block with J and Jᵀ after which to give up.

    Returns:
        Triples, not finite where `push` or `pull` gave no finite numbers.
    """
    width, d = start.shape[1:]
    block = start = _orthonormal(start)
    first = image = push(start)
    space = _Space(block, image, pull(image))
    found, rotation = space.triples(k)
    iteration = 1
    while True:
        running = (found.error > tolerance).any(1) | (found.angle > tolerance)
        running &= found.error.isfinite().all(1)
        room = d - space.basis.shape[1]
        if iteration == max_iterations or room == 0 or not running.any():
            break
        block = _orthonormal(space.pulled[:, -width:][:, :room], space.basis)
        if space.basis.shape[1] + width > BLOCKS * width:
            space = space.compressed(rotation[:, :, : max(BLOCKS * width // 2, k + 1)])
        image = push(block)
        space = space.extended(block, image, pull(image))
        iteration += 1
        latest, rotation = space.triples(k, iteration)
        found = Triples(*(_where(running, *pair) for pair in zip(latest, found, strict=True)))
    rest, rest_error = _rest(found, start, first)
    return found._replace(rest=rest, rest_error=rest_error)


class _Space(NamedTuple):
    """Orthonormal directions, (batch, m, d), with their images J v and JᵀJ v."""

    basis: Tensor
    images: Tensor
    pulled: Tensor

    def extended(self, *more: Tensor) -> "_Space":
        """With further directions."""
        return _Space(*(torch.cat(pair, 1) for pair in zip(self, more, strict=True)))

    def compressed(self, rotation: Tensor) -> "_Space":
        """Spanned by combinations of the directions, (batch, m, fewer)."""
        return _Space(*(rotation.mT.to(part.dtype) @ part for part in self))

    def triples(self, k: int, iteration: int = 1) -> tuple[Triples, Tensor]:
        """The k best triples with their bounds, and all right vectors in terms of the basis."""
        images = self.images.nan_to_num(0.0, 0.0, 0.0).double()
        rotation = torch.linalg.eigh(images @ images.mT).eigenvectors.flip(-1)
        some = rotation[:, :, : k + 1].mT.to(self.basis.dtype)
        stretched = some @ self.images  # s u
        scales = stretched.norm(dim=2, keepdim=True)
        safe = scales.clamp_min(torch.finfo(scales.dtype).tiny)
        right = some @ self.basis
        residuals = some @ self.pulled / safe - scales * right
        lengths, values = residuals.norm(dim=2), scales[..., 0]
        rounding = ROUNDING * (self.images.shape[2] + self.basis.shape[2]) ** 0.5
        least = rounding * torch.finfo(values.dtype).eps * values[:, :1]
        # |σ² - s²| ≤ s‖r‖ as well, the better bound where u is rounding divided by rounding
        squared = lengths * safe[..., 0]
        known = (values <= least) & (squared <= least * values[:, :1])
        # the space in question is that of the first triples, as many as are wanted and not zero
        count = (~known[:, :k]).sum(1, keepdim=True)
        inside = torch.arange(values.shape[1], device=values.device) < count
        part = residuals * inside[..., None]
        gram = (part @ part.mT).nan_to_num(0.0, 0.0, 0.0)
        worst = torch.linalg.matrix_norm(gram, ord=2).sqrt()
        above = values + torch.minimum(lengths, squared.sqrt())
        padded = torch.nn.functional.pad(torch.stack([values, above]), (1, 1))
        last, following = padded[0].gather(1, count)[:, 0], padded[1].gather(1, count + 1)[:, 0]
        gap = last - following  # nothing follows where k = d
        angle = torch.where(gap > worst, worst / gap, 1.0).asin()
        found = Triples(
            axes=(stretched / safe)[:, :k],
            scales=values[:, :k],
            directions=right[:, :k],
            rest=torch.zeros_like(worst),
            rest_error=torch.zeros_like(worst),
            error=torch.where(known, 0.0, lengths / safe[..., 0])[:, :k],
            angle=torch.where(count[:, 0] > 0, angle, 0.0),
            iterations=torch.full_like(worst, iteration),
        )
        return found, rotation


def _orthonormal(block: Tensor, against: Tensor | None = None) -> Tensor:
    """Orthonormal rows, also to those of another block.

    One pass may leave little but rounding, where the space is nearly closed under JᵀJ; of that
    the others make directions that are new.
    """
    for _ in range(1 if against is None else 3):
        if against is not None:
            block = block - (block @ against.mT) @ against
        block = torch.linalg.qr(block.mT).Q.mT
    return block


def _where(mask: Tensor, first: Tensor, second: Tensor) -> Tensor:
    """Points of the first where the mask says so, (batch,), else of the second."""
    return torch.where(mask.view(-1, *[1] * (first.ndim - 1)), first, second)


def _rest(found: Triples, start: Tensor, images: Tensor) -> tuple[Tensor, Tensor]:
    """Sum of the squares of the other singular values, and its standard error, (batch,) each.

    From random directions without their share in what is found: unbiased where the latter does not
    depend on the start, that is, has converged (the idea of Hutch++, Meyer et al. 2021).
    """
    unknown = start.shape[2] - found.scales.shape[1]
    if not unknown:
        return found.rest, found.rest_error
    shares = start @ found.directions.mT
    squares = (start - shares @ found.directions).square().sum(2)
    stretched = (images - (shares * found.scales[:, None]) @ found.axes).square().sum(2)
    count = start.shape[1]
    mean = stretched.sum(1) / squares.sum(1).clamp_min(torch.finfo(squares.dtype).tiny)
    scatter = (stretched - mean[:, None] * squares).square().sum(1) / (count * max(1, count - 1))
    return unknown * mean, unknown * scatter.sqrt() / squares.mean(1)
