"""How far components agree: between neighbors, between two flows, and along training.

Components of a trustworthy flow change little between points that lie close together, between
flows trained from other seeds, and between late epochs. Axes live in model space, so they can
be compared whatever the latents of the flows mean, if both see data preprocessed alike.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from lightning_flows.components.alignment import EDGES, neighbor_edges
from lightning_flows.components.results import Components
from lightning_flows.core.errors import ShapeError

__all__ = ["Agreement", "agreement", "neighbor_agreement"]


@dataclass(frozen=True)
class Agreement:
    """Two sets of axes beside each other at every point, or at the two ends of every edge.

    Between random directions of a D-dimensional space |cos| is about 0.8/√D, which is what no
    agreement looks like. All entries are NaN where one of the two has no components.

    Args:
        cosines: |cos| between each axis of the first and its match in the second, (n, k).
        matches: which axis of the second that is, (n, k); -1 where there are no components.
        angles: principal angles between the spaces that the axes span, (n, k), radians,
            ascending.
    """

    cosines: Tensor
    matches: Tensor
    angles: Tensor

    @property
    def axes(self) -> Tensor:
        """Score of the axes: mean |cos| of those that are matched, (n,), from 0 to 1."""
        return self.cosines.mean(1)

    @property
    def subspace(self) -> Tensor:
        """Score of the spaces that they span: mean squared cosine of angles, (n,), 0 to 1."""
        return self.angles.cos().square().mean(1)


@torch.no_grad()
def agreement(first: Components, second: Components, *, match: bool = True) -> Agreement:
    """Compare components at the same points: of two flows, or of two moments of training.

    Args:
        first: components at some points.
        second: components of another flow at the same points.
        match: whether each axis is compared with the axis of the second that makes the sum of
            |cos| largest (Hungarian assignment), since spectra may cross; otherwise with the one
            of the same rank.

    Returns:
        What was found at each point.

    Raises:
        ShapeError: the two are not as many components of the same events.
    """
    if first.axes.shape != second.axes.shape:
        raise ShapeError(
            f"axes have shapes {tuple(first.axes.shape)} and {tuple(second.axes.shape)}; "
            "they must be equal."
        )
    other = second.axes.to(first.axes.device)
    return _compared(*_against(first.axes, other), match)


@torch.no_grad()
def neighbor_agreement(
    found: Components, *, neighbors: int = 8, match: bool = True
) -> tuple[Agreement, Tensor]:
    """Compare components between nearest neighbors in model space.

    Args:
        found: components at (batch,) points; where they are NaN they take no part.
        neighbors: nearest neighbors of each point.
        match: as in `agreement`.

    Returns:
        What was found at each edge of the graph of neighbors, and the points at its ends,
        (edges, 2).
    """
    edges = neighbor_edges(found.preprocessed, neighbors, found.scales.isfinite().all(1))
    ends = edges.to(found.axes.device).split(EDGES)
    parts = [_against(found.axes[part[:, 0]], found.axes[part[:, 1]]) for part in ends]
    cosines, sines = (torch.cat(part) for part in zip(*parts, strict=True))
    return _compared(cosines, sines, match), edges


def _against(first: Tensor, second: Tensor) -> tuple[Tensor, Tensor]:
    """Cosines between all axes (n, k, k), and sines of principal angles, (n, k), on the CPU.

    An angle near zero is lost in its cosine, which differs from 1 by half its square.
    """
    first, second = first.flatten(2).double(), second.flatten(2).double()
    cosines = first @ second.mT
    rest = second - cosines.mT @ first
    whole = rest.isfinite().flatten(1).all(1)[:, None, None]
    return cosines.cpu(), torch.linalg.svdvals(torch.where(whole, rest, 0.0)).cpu()


def _compared(cosines: Tensor, sines: Tensor, match: bool) -> Agreement:
    """From cosines between all axes of the first and all of the second, (n, k, k), on the CPU."""
    from scipy.optimize import linear_sum_assignment

    n, k = cosines.shape[:2]
    finite = cosines.isfinite().flatten(1).all(1)
    clean = torch.where(finite[:, None, None], cosines.abs().clamp(max=1), 0.0)
    order = torch.arange(k).repeat(n, 1)
    if match:
        for index, weights in enumerate(clean.numpy()):
            order[index] = torch.from_numpy(linear_sum_assignment(weights, maximize=True)[1])
    signed = torch.where(finite[:, None, None], cosines, 0.0)
    angles = torch.atan2(sines.flip(1), torch.linalg.svdvals(signed))
    matched = clean.gather(2, order[..., None])[..., 0]
    return Agreement(
        torch.where(finite[:, None], matched, torch.nan),
        torch.where(finite[:, None], order, -1),
        torch.where(finite[:, None], angles, torch.nan),
    )
