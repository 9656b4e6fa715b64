"""Samples whose volume fails, treated alone: the rest of a batch is what it is without them."""

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor

from lightning_flows.jacobians.products import Map
from lightning_flows.objectives.conjugate_gradients import Solution

__all__ = ["Embedded", "around_failures", "elsewhere", "measured", "some_fail", "where_rows"]


class Embedded(NamedTuple):
    """A batch on its way through encoder and decoder.

    Args:
        u: latents of the data, (batch, d).
        x_hat: what they decode to, (batch, *event); without a gradient where J is not finite.
        log_volume: ½ log det JᵀJ at u, (batch,), nats; or zero with the gradient of it; NaN where
            it fails.
        jacobian: J with its graph, (batch, D, d), where the strategy has built it; that of another
            sample, without a gradient, where the volume fails.
        solution: what conjugate gradients did, where they were used.
    """

    u: Tensor
    x_hat: Tensor
    log_volume: Tensor
    jacobian: Tensor | None = None
    solution: Solution | None = None


def measured(
    measure: Callable[[Tensor], Tensor],
    differentiate: Callable[[Tensor], tuple[Tensor, Tensor]],
    decode: Map,
    u: Tensor,
) -> Embedded:
    """A batch with a measure of J, the samples where it fails treated alone.

    The host waits once for the device, to hear whether a sample failed. That cannot be had for
    less: a NaN derivative passes through every mask, and is seen only once it has been computed.

    Args:
        measure: gives a volume of each J, (batch, D, k) -> (batch,), NaN where it fails; with a
            gradient that is finite where J is.
        differentiate: gives values (batch, *event) and J, (batch, D, k), at points.
        decode: map from (batch, d) to (batch, *event).
        u: points, (batch, d).
    """
    x_hat, j = differentiate(u)
    volume = measure(j)
    sound = ~volume.detach().isnan()
    if some_fail(sound):
        finite = j.detach().isfinite().flatten(1).all(1)
        if some_fail(finite):
            x_hat, j = around_failures(differentiate, decode, u, finite)
            volume = torch.where(finite, measure(j), torch.nan)
        j = elsewhere(j, sound)
    return Embedded(u, x_hat, volume, j)


def some_fail(sound: Tensor) -> bool:
    """Whether there are samples to be treated alone; if all fail, there are not."""
    return bool(sound.any() & ~sound.all())


def around_failures(
    differentiate: Callable[[Tensor], tuple[Tensor, Tensor]], decode: Map, u: Tensor, finite: Tensor
) -> tuple[Tensor, Tensor]:
    """Values and derivatives of the decoder; another point's where derivatives are not finite.

    Nothing of such a sample may reach the graph: zero times infinity is NaN for all parameters.

    Args:
        differentiate: gives values (batch, *event) and derivatives at points.
        decode: map from (batch, d) to (batch, *event).
        u: points, (batch, d).
        finite: where derivatives are finite, (batch,).

    Returns:
        Values at u, without a gradient where derivatives are not finite, and derivatives.
    """
    values, derivatives = differentiate(elsewhere(u, finite))
    with torch.no_grad():
        broken = decode(u)
    return where_rows(finite, values, broken), derivatives


def elsewhere(values: Tensor, sound: Tensor) -> Tensor:
    """Put the first sound row, without its gradient, where a row is not sound."""
    return where_rows(sound, values, values.detach()[sound.int().argmax()])


def where_rows(sound: Tensor, values: Tensor, others: Tensor) -> Tensor:
    """Rows of the values where they are sound, (batch,), and of the others elsewhere."""
    return torch.where(sound.reshape(-1, *[1] * (values.ndim - 1)), values, others)
