"""Linear bijections of the first event dimension: features of a vector, channels of an image."""

from collections.abc import Callable, Sequence
from functools import wraps
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from lightning_flows.core.errors import ConfigError
from lightning_flows.core.linalg import solve_triangular
from lightning_flows.core.shapes import size
from lightning_flows.core.support import Support, by_columns, set_of_each
from lightning_flows.transforms.base import Transform

__all__ = [
    "LULinear",
    "Orthogonal",
    "Permutation",
    "along_channels",
    "as_channels",
    "full_precision",
    "reflect",
]


_Map = Callable[..., tuple[Tensor, Tensor]]


def full_precision(method: _Map) -> _Map:
    """Keep autocast out: a matrix in half precision is not the one whose determinant counts."""

    @wraps(method)
    def wrapped(self: Any, x: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        device = x.device.type
        if device == "meta" or not torch.is_autocast_enabled(device):
            return method(self, x, context)
        with torch.autocast(device, enabled=False):
            return method(self, x, context)

    return wrapped


class Permutation(Transform):
    """A fixed permutation along one event dimension.

    Args:
        event_shape: shape of one data point.
        order: which entry comes first, second and so on; drawn at random with `seed` by default.
        seed: seed of the random order, so that all processes draw the same one.
        dim: dimension of the event whose entries change places.
        support: set that data lies in, whose columns change places too; any set whose entries
            are alike by default.

    Raises:
        ConfigError: `order` is not a permutation, or the event has no dimension `dim`, or not the
            first one where there is a support.
    """

    order: Tensor
    inverse: Tensor

    def __init__(
        self,
        event_shape: Sequence[int] | int,
        order: Sequence[int] | None = None,
        *,
        seed: int = 0,
        dim: int = 0,
        support: Support | None = None,
    ) -> None:
        super().__init__(event_shape, domain=None, codomain=None, volume_preserving=True)
        if not 0 <= dim < len(self.event_shape):
            raise ConfigError(
                f"dim is {dim}; events of shape {self.event_shape} have 0 to "
                f"{len(self.event_shape) - 1}."
            )
        n = self.event_shape[dim]
        self.dim = dim
        if order is None:
            order = torch.randperm(n, generator=torch.Generator().manual_seed(seed)).tolist()
        if sorted(order) != list(range(n)):
            raise ConfigError(f"order is {list(order)}; expected is a permutation of 0 to {n - 1}.")
        if support is not None:
            if dim != 0:
                raise ConfigError(f"dim is {dim}; columns change places along dimension 0.")
            support.check(self.event_shape)
            sets = set_of_each(support, n)
            self.domain, self.codomain = support, by_columns([sets[place] for place in order])
        self.register_buffer("order", torch.tensor(order))
        self.register_buffer("inverse", torch.argsort(self.order))

    def encode(self, x: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        return x.index_select(self.dim + 1, self.order), x.new_zeros(len(x))

    def decode(self, z: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        return z.index_select(self.dim + 1, self.inverse), z.new_zeros(len(z))


class LULinear(Transform):
    """z = L·U·x + b with triangular L (unit diagonal) and U (positive diagonal).

    Args:
        event_shape: shape of one data point; the map acts along its first dimension.
    """

    def __init__(self, event_shape: Sequence[int] | int) -> None:
        super().__init__(event_shape)
        n = self.event_shape[0]
        self.lower = nn.Parameter(torch.zeros(n, n))
        self.upper = nn.Parameter(torch.zeros(n, n))
        self.log_diagonal = nn.Parameter(torch.zeros(n))
        self.bias = nn.Parameter(torch.zeros(n))

    @full_precision
    def encode(self, x: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        lower, upper = self._factors()
        z = along_channels(lower @ upper, x)
        return z + as_channels(self.bias, x), self._contribution(x)

    @full_precision
    def decode(self, z: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        lower, upper = self._factors()
        flat = (z - as_channels(self.bias, z)).transpose(0, 1).flatten(1)
        flat = solve_triangular(lower, flat, upper=False, unitriangular=True)
        flat = solve_triangular(upper, flat, upper=True)
        x = flat.reshape(z.shape[1], z.shape[0], *z.shape[2:]).transpose(0, 1)
        return x, self._contribution(z)

    def _factors(self) -> tuple[Tensor, Tensor]:
        eye = torch.eye(len(self.bias), dtype=self.bias.dtype, device=self.bias.device)
        return self.lower.tril(-1) + eye, self.upper.triu(1) + torch.diag(self.log_diagonal.exp())

    def _contribution(self, x: Tensor) -> Tensor:
        positions = size(self.event_shape[1:])
        return (positions * self.log_diagonal.sum()).expand(len(x))


class Orthogonal(Transform):
    """z = Q·x with an orthogonal Q, a product of Householder reflections.

    Args:
        event_shape: shape of one data point; the map acts along its first dimension.
        reflections: number of reflections; as many as the dimension by default.

    Raises:
        ConfigError: `reflections` is not between 1 and the dimension.
    """

    def __init__(self, event_shape: Sequence[int] | int, reflections: int | None = None) -> None:
        super().__init__(event_shape, volume_preserving=True)
        n = self.event_shape[0]
        reflections = n if reflections is None else reflections
        if not 1 <= reflections <= n:
            raise ConfigError(f"reflections is {reflections}; accepted are 1 to {n}.")
        self.vectors = nn.Parameter(torch.randn(reflections, n))

    @full_precision
    def encode(self, x: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        return reflect(x, self.vectors), x.new_zeros(len(x))

    @full_precision
    def decode(self, z: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        return reflect(z, self.vectors, adjoint=True), z.new_zeros(len(z))


def reflect(x: Tensor, vectors: Tensor, *, adjoint: bool = False) -> Tensor:
    """Multiply the first event dimension with a product of Householder reflections.

    Q = H_1 · … · H_k = I - Vᵀ·T⁻¹·V with a triangular T (Joffrain et al. 2006). For fewer rows
    than dimensions Q itself is never made.

    Args:
        x: (batch, n, *positions).
        vectors: normals of the reflections, of any length, (k, n).
        adjoint: multiply with Qᵀ in place of Q.

    Returns:
        (batch, n, *positions).
    """
    v = F.normalize(vectors, dim=1)
    k, n = v.shape
    t = 0.5 * torch.eye(k, dtype=v.dtype, device=v.device) + (v @ v.T).triu(1)
    if x.ndim == 2 and len(x) < n:
        factor = t if adjoint else t.mT
        inner = solve_triangular(factor, x @ v.T, upper=adjoint, left=False)
        reflected: Tensor = x - inner @ v
        return reflected
    inner = solve_triangular(t, v, upper=True)
    matrix = torch.eye(n, dtype=v.dtype, device=v.device) - v.T @ inner
    return along_channels(matrix.T if adjoint else matrix, x)


def along_channels(matrix: Tensor, x: Tensor) -> Tensor:
    """Multiply the first event dimension of x with a matrix."""
    if x.ndim == 2:
        return x @ matrix.T
    z: Tensor = torch.matmul(matrix, x.flatten(2)).unflatten(2, x.shape[2:])
    return z


def as_channels(vector: Tensor, x: Tensor) -> Tensor:
    """Shape a vector of channels so that it broadcasts against x."""
    return vector.reshape(1, -1, *[1] * (x.ndim - 2))
