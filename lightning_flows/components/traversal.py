"""Walks on the manifold of a decoder along one of its components."""

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from lightning_flows.components.extract import components
from lightning_flows.components.options import Method
from lightning_flows.components.results import Components
from lightning_flows.core.errors import ConfigError
from lightning_flows.jacobians.products import Map

__all__ = ["Traversal", "traverse"]

SPARE = 2  # components beyond the one asked for, to follow it where spectra cross


@dataclass(frozen=True)
class Traversal:
    """Paths through the points of a batch.

    Args:
        points: data along the paths, (batch, 2 steps + 1, *event), in their own units; the middle
            is what x decodes to.
        latents: their latents, (batch, 2 steps + 1, *latent).
        offsets: how far along the path each point lies, (2 steps + 1,), from -length to length.
    """

    points: Tensor
    latents: Tensor
    offsets: Tensor


@torch.no_grad()
def traverse(
    encode: Map,
    decode: Map,
    x: Tensor,
    *,
    to_model: Map | None = None,
    from_model: Map | None = None,
    component: int = 0,
    steps: int = 4,
    length: float = 2.0,
    unit: Literal["scale", "data"] = "scale",
    gap: float = 0.1,
    method: Method | None = None,
    chunk_size: int | None = None,
) -> Traversal:
    """Walk from points along a component, in both directions and through the decoder.

    A step of δ along the axis u = J v / s moves the latents by J⁺u δ = v/s δ, so every point of
    the path lies on the manifold, and the path follows the axis as it turns (the midpoint rule:
    components are extracted twice in each step). At a crossing of scales it goes on in its
    direction, not in its rank; among nearly equal scales it follows the projection of its last
    direction on all their axes, which on a sphere is a great circle.

    Args:
        encode: model space to latents, (batch, *event) to (batch, *latent), row by row.
        decode: latents to model space, (batch, *latent) to (batch, *event), row by row.
        x: points, (batch, *event).
        to_model: preprocesses data, as in `components`; None where there is nothing to do.
        from_model: undoes it.
        component: which component to follow, 0 the widest.
        steps: steps in each direction.
        length: how far to walk in each direction.
        unit: whether lengths are in standard deviations along the axis, as they are at each place,
            or in units of the data.
        gap: relative difference of scales up to which they count as nearly equal.
        method: how to extract components, as in `components`.
        chunk_size: directions to differentiate along at a time; None chooses.

    Returns:
        The paths; NaN beyond a point where the Jacobian is not finite.

    Raises:
        ConfigError: an option is out of range.
    """
    y = x if to_model is None else to_model(x)
    z = encode(y)
    size = z.shape[1:].numel()
    if not 0 <= component < size:
        raise ConfigError(f"component is {component}; accepted are 0 to {size - 1}.")
    if steps < 1 or not 0 < length < float("inf"):
        raise ConfigError(f"steps is {steps} and length {length}; both must be positive.")
    if unit not in ("scale", "data"):
        raise ConfigError(f"unit is {unit!r}; accepted are 'scale' and 'data'.")
    k = min(size, component + 1 + SPARE)

    def extract(z: Tensor) -> Components:
        return components(
            lambda _: z,
            decode,
            y,
            from_model=from_model,
            k=k,
            method=method,
            chunk_size=chunk_size,
        )

    def velocity(found: Components, axis: Tensor) -> tuple[Tensor, Tensor]:
        """Latent velocity at which data moves along the axis, and that axis as it is here."""
        cosines = torch.einsum("bkd,bd->bk", found.axes.flatten(2), axis)
        best = found.scales.gather(1, cosines.abs().argmax(1, keepdim=True))
        near = (found.scales - best).abs() <= gap * best
        weights = torch.nn.functional.normalize(torch.where(near, cosines, 0.0))
        speed = weights / found.scales
        if unit == "scale":
            speed = speed * (weights * found.scales).norm(dim=1, keepdim=True)
        else:
            arrow = torch.einsum("bk,bkd->bd", speed, found.displacements.flatten(2))
            speed = speed / arrow.norm(dim=1, keepdim=True)
        here = torch.einsum("bk,bkd->bd", weights, found.axes.flatten(2))
        return torch.einsum("bk,bkd->bd", speed, found.directions.flatten(2)).view_as(z), here

    begin = extract(z)
    step = length / steps
    sides: list[list[Tensor]] = []
    for sign in (-1.0, 1.0):
        latents, axis, found = [z], sign * begin.axes[:, component].flatten(1), begin
        for index in range(steps):
            if index:
                found = extract(latents[-1])
            first, axis = velocity(found, axis)
            middle, axis = velocity(extract(latents[-1] + step / 2 * first), axis)
            latents.append(latents[-1] + step * middle)
        sides.append(latents)
    path = torch.stack([*sides[0][:0:-1], *sides[1]], 1)
    images = [decode(latent) for latent in path.unbind(1)]
    points = torch.stack(images if from_model is None else [*map(from_model, images)], 1)
    offsets = torch.linspace(-length, length, 2 * steps + 1, dtype=z.dtype, device=z.device)
    return Traversal(points, path, offsets)
