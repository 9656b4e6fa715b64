"""Axes of neighboring points that point the same way.

The sign of a component at a point is arbitrary, and where two scales are equal so is any rotation
of their axes. Both are settled along a graph of neighbors, so that fields of components can be
drawn, averaged and compared.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from lightning_flows.components.results import Components
from lightning_flows.core.errors import ConfigError

__all__ = ["EDGES", "Aligned", "align", "neighbor_edges"]

EDGES = 1024  # compared at a time

Array = np.ndarray[Any, np.dtype[Any]]


@dataclass(frozen=True)
class Aligned:
    """Components whose axes agree along the edges of spanning trees.

    Args:
        components: the components with signs turned, and rotated within groups. There, scales and
            variances are those along the rotated axes (uᵀ J Jᵀ u), and need not descend;
            directions and displacements are rotated likewise, so J v = s u holds as well as the
            scales are equal.
        rotations: what was applied to the axes, (batch, k, k), orthogonal.
        groups: number of the first component of the group that each belongs to, (batch, k).
        crossings: whether the scales of components i and i + 1 are nearly equal at a point,
            (batch, k - 1): there the two may change places.
    """

    components: Components
    rotations: Tensor
    groups: Tensor
    crossings: Tensor


@torch.no_grad()
def align(found: Components, *, neighbors: int = 8, gap: float = 0.1) -> Aligned:
    """Turn the axes at every point so that they agree with those of its neighbors.

    Points are joined to their nearest neighbors in model space. Along a maximum spanning tree of
    this graph, with |cos| between axes as weights, each component takes its sign from the point
    before (the linear systems paper, arXiv 1907.06496, relaxes the signs on a graph of all pairs
    instead). Components that are nearly degenerate with each other anywhere share a tree, whose
    weights are cosines of principal angles; where they are, their axes are rotated to fit those
    of the point before (orthogonal Procrustes).

    No choice of signs is continuous around a loop along which an axis turns over, as on a Möbius
    strip: then there is a jump somewhere. Where the graph falls into parts, each is aligned alone.

    Args:
        found: components at (batch,) points; where they are NaN they stay so.
        neighbors: nearest neighbors of each point.
        gap: relative difference of two successive scales up to which they count as degenerate.

    Raises:
        ConfigError: an option is out of range.
    """
    if not 0 <= gap < 1:
        raise ConfigError(f"gap is {gap}; accepted are numbers from 0 to below 1.")
    scales = found.scales
    n, k = scales.shape
    finite = scales.isfinite().all(1)
    crossings = (scales[:, :-1] - scales[:, 1:] <= gap * scales[:, :-1]) & finite[:, None]
    first = torch.arange(k, device=scales.device).expand(n, k)
    opens = torch.cat([torch.ones_like(finite)[:, None], ~crossings], 1)
    groups = torch.where(opens, first, 0).cummax(1).values

    edges = neighbor_edges(found.preprocessed, neighbors, finite)
    cosines = _edge_cosines(found.axes, edges)
    rotations = np.tile(np.eye(k), (n, 1, 1))
    if len(edges):
        labels = groups.cpu().numpy()
        for start, stop in _runs(crossings.any(0).tolist()):
            part = cosines[:, start:stop, start:stop]
            weights = torch.linalg.svdvals(part).mean(1)
            for child, parent, cosine in _tree(n, edges, weights, part.numpy()):
                seen = cosine @ rotations[parent, start:stop, start:stop].T
                for members in _members(labels[child, start:stop]):
                    p, _, q = np.linalg.svd(seen[np.ix_(members, members)])
                    index = start + members
                    rotations[child][np.ix_(index, index)] = (p @ q).T
    rotation = torch.from_numpy(rotations).to(scales)
    return Aligned(_rotated(found, rotation), rotation, groups, crossings)


def neighbor_edges(points: Tensor, neighbors: int, finite: Tensor) -> Tensor:
    """Pairs of nearest neighbors, each once: (batch, *event) -> (edges, 2), on the CPU.

    Args:
        points: data.
        neighbors: nearest neighbors of each point.
        finite: which points take part, (batch,).

    Raises:
        ConfigError: `neighbors` is not positive.
    """
    from sklearn.neighbors import NearestNeighbors

    if neighbors < 1:
        raise ConfigError(f"neighbors is {neighbors}; accepted are positive integers.")
    index = finite.nonzero()[:, 0].cpu()
    count = min(neighbors, len(index) - 1)
    if count < 1:
        return torch.empty(0, 2, dtype=torch.long)
    flat = points.flatten(1)[finite].detach().cpu().numpy()
    near = NearestNeighbors(n_neighbors=count).fit(flat).kneighbors(return_distance=False)
    pairs = torch.stack([index[:, None].expand(-1, count), index[torch.from_numpy(near)]], 2)
    found: Tensor = pairs.flatten(0, 1).sort(1).values.unique(dim=0)
    return found


def _edge_cosines(axes: Tensor, edges: Tensor) -> Tensor:
    """Cosines between all axes at one end and all at the other, (edges, k, k), on the CPU.

    Entry [e, i, j] belongs to axis i of the first point of edge e and axis j of the second.
    """
    flat = axes.flatten(2).double()
    parts = [flat[part[:, 0]] @ flat[part[:, 1]].mT for part in edges.to(axes.device).split(EDGES)]
    return torch.cat(parts).cpu()


def _runs(linked: Sequence[bool]) -> Iterator[tuple[int, int]]:
    """First and last-but-one of components that are linked to their successors somewhere."""
    start = 0
    for index, link in enumerate([*linked, False], start=1):
        if not link:
            yield start, index
            start = index


def _members(labels: Array) -> list[Array]:
    """Positions of each group."""
    return [np.flatnonzero(labels == label) for label in np.unique(labels)]


def _tree(
    n: int, edges: Tensor, weights: Tensor, cosines: Array
) -> Iterator[tuple[int, int, Array]]:
    """Edges of maximum spanning trees from parent to child, and cosines of child by parent."""
    from scipy.sparse import csgraph, csr_array

    first, second = edges.numpy().T
    cost = csr_array((2 - weights.numpy(), (first, second)), shape=(n, n))  # 0 would be no edge
    tree = csgraph.minimum_spanning_tree(cost)
    pairs = zip(first.tolist(), second.tolist(), strict=True)
    position = {pair: index for index, pair in enumerate(pairs)}
    _, part = csgraph.connected_components(tree, directed=False)
    for root in np.unique(part, return_index=True)[1]:
        order, before = csgraph.breadth_first_order(tree, root, directed=False)
        for child in order[1:].tolist():
            parent = int(before[child])
            index = position[min(child, parent), max(child, parent)]
            yield child, parent, cosines[index] if child < parent else cosines[index].T


def _rotated(found: Components, rotation: Tensor) -> Components:
    """Components in rotated axes."""
    squares = rotation.square()

    def turn(values: Tensor) -> Tensor:
        return (rotation @ values.flatten(2)).view_as(values)

    def mix(values: Tensor) -> Tensor:
        return (squares @ values[..., None])[..., 0]

    return replace(
        found,
        axes=turn(found.axes),
        directions=turn(found.directions),
        displacements=turn(found.displacements),
        coordinates=turn(found.coordinates[..., None])[..., 0],
        scales=mix(found.scales.square()).sqrt(),
        variances=mix(found.variances),
        error=torch.where(squares > 0, found.error[:, None], 0.0).amax(2),
    )
