"""Derivatives of a map along directions, its whole Jacobian, and products from the left.

All directions share one evaluation of the map: what does not depend on the direction is computed
once. Works under `no_grad`, under `inference_mode`, and with a graph for training losses.
"""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.func import jvp, vjp, vmap
from torch.utils.checkpoint import checkpoint

from lightning_flows.core.errors import ShapeError, check_least
from lightning_flows.core.inference import outside_inference_mode, recordable
from lightning_flows.jacobians.forward import LeanForward, switched_off, torch_derivatives

__all__ = ["Map", "cotangents", "jacobian", "linearized", "tangents", "value_and_jacobian"]

Map = Callable[[Tensor], Tensor]
"""Takes a batch to a batch, each row by itself."""


def tangents(fn: Map, z: Tensor, vectors: Tensor, *, graph: bool = True) -> tuple[Tensor, Tensor]:
    """Value of a map and its derivatives along k directions at every point of a batch.

    Args:
        fn: map of batches, (batch, *in) to (batch, *out), that treats every row on its own. Where
            it draws random numbers, all directions see the same ones.
        z: points, (batch, *in).
        vectors: directions, (k, batch, *in), of the dtype of `z`.
        graph: whether the derivatives will be differentiated again; if not, it may be cheaper to
            have them. The value keeps its graph in either case.

    Returns:
        `fn(z)`, (batch, *out), and the derivatives J v, (k, batch, *out).

    Raises:
        ShapeError: `vectors` are no directions at the points `z`.
    """
    if vectors.shape[1:] != z.shape:
        raise ShapeError(
            f"vectors have shape {tuple(vectors.shape)}; expected is (k, *{tuple(z.shape)})."
        )

    # forward mode refuses expanded points, and copies expanded directions twice
    z, vectors = z.contiguous(), vectors.contiguous()

    def along(vector: Tensor) -> tuple[Tensor, Tensor]:
        with LeanForward(graph=graph):
            result = jvp(fn, (z,), (vector,))
        return result[0], result[1] if graph else result[1].detach()

    with outside_inference_mode():
        if len(vectors) == 1:
            value, derivative = along(vectors[0])
            return value, derivative[None]
        # the value has no direction in it, so vmap may hand it back as it is
        out_dims: tuple[Any, int] = (None, 0)
        value, derivatives = vmap(along, out_dims=out_dims, randomness="same")(vectors)
        return value, derivatives


def value_and_jacobian(
    fn: Map, z: Tensor, *, chunk_size: int | None = None, columns: Tensor | None = None
) -> tuple[Tensor, Tensor]:
    """Value of a map and its Jacobian at every point of a batch.

    Args:
        fn: map of batches, (batch, *in) to (batch, *out), that treats every row on its own.
        z: points, (batch, *in).
        chunk_size: number of directions at a time; None takes all at once. Memory grows with it,
            and the value of `fn` is computed once for each chunk; where there is a graph, each
            chunk is computed again in the backward pass instead of being kept.
        columns: which inputs to differentiate by, (k,), among the flattened ones; None takes all.

    Returns:
        `fn(z)`, (batch, *out), and the Jacobian, (batch, out, in or k), events flattened; entry
        [b, i, j] is the derivative of output i of point b with respect to its input j.

    Raises:
        ConfigError: `chunk_size` is not positive.
    """
    check_least(1, chunk_size=chunk_size)
    basis = torch.eye(z.shape[1:].numel(), dtype=z.dtype, device=z.device)
    if columns is not None:
        basis = basis[columns]

    off = switched_off()  # also for chunks that are computed again in the backward pass

    def chunk(part: Tensor, z: Tensor) -> tuple[Tensor, Tensor]:
        directions = part.view(len(part), 1, *z.shape[1:]).expand(-1, *z.shape)
        with torch_derivatives(off):
            value, derivatives = tangents(fn, z, directions)
        return value, derivatives.flatten(2)

    parts = torch.split(basis, chunk_size or len(basis))
    if len(parts) == 1:
        value, rows = chunk(basis, z)
    elif torch.is_grad_enabled():
        chunks = [checkpoint(chunk, part, z, use_reentrant=False) for part in parts]
        value, rows = chunks[0][0], torch.cat([found for _, found in chunks])
    else:  # no chunk outlives its turn
        value, first = chunk(parts[0], z)
        rows = first.new_empty(len(basis), *first.shape[1:])
        for part, place in zip(parts, rows.split(len(parts[0])), strict=True):
            place.copy_(first if part is parts[0] else chunk(part, z)[1])
    return value, rows.permute(1, 2, 0)


def jacobian(fn: Map, z: Tensor, *, chunk_size: int | None = None) -> Tensor:
    """The Jacobian alone of `value_and_jacobian`: (batch, out, in)."""
    return value_and_jacobian(fn, z, chunk_size=chunk_size)[1]


def pullback(fn: Map, x: Tensor) -> tuple[Tensor, Callable[[Tensor], Tensor]]:
    """Value of a map, (batch, *out), and the function v ↦ vᵀJ, (batch, *out) -> (batch, *in)."""
    with outside_inference_mode():
        value, pull = vjp(fn, recordable(x))[:2]

    def pulled(v: Tensor) -> Tensor:
        with outside_inference_mode():
            product: Tensor = pull(recordable(v))[0]
        return product

    return value, pulled


def linearized(
    fn: Map, x: Tensor
) -> tuple[Tensor, Callable[[Tensor], Tensor], Callable[[Tensor], Tensor]]:
    """Value of a map, v ↦ J v and u ↦ uᵀJ, for many products at the same points.

    All products share the graph of one evaluation. J v is the transpose of the transpose, by
    reverse mode twice: for few vectors about half as expensive as forward mode, which evaluates the
    map each time, and for many no cheaper.

    Args:
        fn: map of batches, (batch, *in) to (batch, *out), that treats every row on its own.
        x: points, (batch, *in).

    Returns:
        `fn(x)`, (batch, *out), and two functions: of directions, (k, batch, *in) to
        (k, batch, *out), and back.
    """
    value, pull = pullback(fn, x)
    with outside_inference_mode():
        transposed = vjp(pull, torch.zeros_like(value))[1]
    return value, lambda v: each(lambda v: transposed(v)[0], v), lambda u: each(pull, u)


def cotangents(fn: Map, x: Tensor, vectors: Tensor) -> tuple[Tensor, Tensor]:
    """Value of a map and k vector-Jacobian products at every point of a batch, by reverse mode.

    Args:
        fn: map of batches, (batch, *in) to (batch, *out), that treats every row on its own.
        x: points, (batch, *in).
        vectors: (k, batch, *out).

    Returns:
        `fn(x)`, (batch, *out), and the products vᵀJ, (k, batch, *in), both with their graph.
    """
    value, pull = pullback(fn, x)
    return value, each(pull, vectors)


def each(pull: Callable[[Tensor], Tensor], vectors: Tensor) -> Tensor:
    """Apply a pullback to k vectors: (k, batch, *out) -> (k, batch, *in)."""
    return pull(vectors[0])[None] if len(vectors) == 1 else vmap(pull)(vectors)
