"""Penalties on the Jacobian, added to the loss of a family.

Two Jacobians are meant: `Tikhonov` acts on that of the encoder, data → latent; the others on
that of the decoder, latent → data, (D, d).

A penalty fails where that Jacobian is not finite, a principal one also where it is not of full
rank. `volume_and_penalties` leaves such samples out.
"""

from collections.abc import Sequence

import torch
from torch import Tensor

from lightning_flows.core.errors import ConfigError, check_from_zero
from lightning_flows.core.recipe import Recorded
from lightning_flows.jacobians.log_volume import half_log_det, log_lengths
from lightning_flows.jacobians.products import Map, each, pullback, tangents, value_and_jacobian
from lightning_flows.objectives.failures import Embedded, elsewhere, some_fail, where_rows
from lightning_flows.objectives.stochastic import probes_like
from lightning_flows.objectives.volume import Volume

__all__ = [
    "ContourInformation",
    "Isometry",
    "OffDiagonal",
    "Penalty",
    "Tikhonov",
    "squared_norm",
    "volume_and_penalties",
]


class Penalty(Recorded):
    """A weight and a non-negative function of the Jacobian of each sample.

    Args:
        weight: factor in the loss.

    Raises:
        ConfigError: a negative weight.
    """

    name: str
    """Under which the unweighted value is logged: `train/penalty/<name>`; a second penalty of the
    same kind as `<name>_2`."""

    def __init__(self, weight: float) -> None:
        check_from_zero(weight=weight)
        self.weight = weight

    def __call__(self, encode: Map, decode: Map, x: Tensor, embedded: Embedded) -> Tensor:
        """Unweighted penalty of each sample.

        Args:
            encode: map from (batch, *event) to (batch, d).
            decode: map from (batch, d) to (batch, *event).
            x: data, (batch, *event).
            embedded: its way through encoder and decoder, with the Jacobian where it was built.

        Returns:
            (batch,); not finite where it fails. If the derivatives of encoder and decoder are
            finite there, it must have no gradient, since a NaN one would reach all parameters.
        """
        raise NotImplementedError


class Tikhonov(Penalty):
    """‖∂z/∂x‖²_F of the encoder (Feinman and Parthasarathy 2019).

    A linear flow with weight α learns WᵀW = (Σ + 2αI)⁻¹, as with Gaussian noise of variance 2α on
    the data: no direction becomes thinner than √(2α), and the likelihood has a floor.

    Args:
        weight: α.
        probes: random directions in latent space for each sample; None is exact.
    """

    name = "tikhonov"

    def __init__(self, weight: float, probes: int | None = 1) -> None:
        super().__init__(weight)
        if probes is not None and probes < 1:
            raise ConfigError(f"probes is {probes}; accepted are None and positive integers.")
        self.probes = probes

    def __call__(self, encode: Map, decode: Map, x: Tensor, embedded: Embedded) -> Tensor:
        return squared_norm(encode, x, probes=self.probes)


class OffDiagonal(Penalty):
    """Σ_{i≠j} |G_ij| with G = JᵀJ (canonical manifold flows, Flouris and Konukoglu 2023).

    What orthogonal columns say about the factors behind data, and what they do not, stands in
    docs/components.md.

    Args:
        weight: γ.
    """

    name = "off_diagonal"

    def __call__(self, encode: Map, decode: Map, x: Tensor, embedded: Embedded) -> Tensor:
        gram = _gram(decode, embedded)
        return gram.abs().sum((1, 2)) - gram.diagonal(dim1=1, dim2=2).sum(1)


class ContourInformation(Penalty):
    """Σ log‖J_k‖ - ½ log det JᵀJ, zero where the columns of J are orthogonal.

    The pointwise mutual information of principal component flows (Cunningham et al. 2022). NaN,
    without a gradient, where J is not of full rank.

    Args:
        weight: α.
    """

    name = "principal"

    def __call__(self, encode: Map, decode: Map, x: Tensor, embedded: Embedded) -> Tensor:
        j = _jacobian(decode, embedded)
        return log_lengths(j) - half_log_det(j)


class Isometry(Penalty):
    """E (‖J v‖ - 1)² over unit vectors v (isometric autoencoders, Gropp et al. 2020).

    Args:
        weight: factor in the loss.
        probes: unit vectors for each sample.
    """

    name = "isometry"

    def __init__(self, weight: float, probes: int = 1) -> None:
        super().__init__(weight)
        if probes < 1:
            raise ConfigError(f"probes is {probes}; accepted are positive integers.")
        self.probes = probes

    def __call__(self, encode: Map, decode: Map, x: Tensor, embedded: Embedded) -> Tensor:
        v = torch.nn.functional.normalize(probes_like(embedded.u, self.probes), dim=2)
        lengths: Tensor = tangents(decode, embedded.u, v)[1].flatten(2).norm(dim=2)
        return (lengths - 1).square().mean(0)


def volume_and_penalties(
    volume: Volume, penalties: Sequence[Penalty], encode: Map, decode: Map, x: Tensor
) -> tuple[Embedded, list[Tensor]]:
    """A batch with its volume and penalties, the samples where one of them fails treated alone.

    The other samples have the same values and gradients as without them. Where encoder and decoder
    have finite derivatives, a sample that fails keeps the gradients of u and x_hat; where they have
    not, nothing of it reaches the graph. The host waits once more for the device, to hear whether a
    sample failed, and the batch is computed twice if a derivative has.

    Args:
        volume: strategy that encodes, decodes and measures.
        penalties: what else is measured.
        encode: map from (batch, *event) to (batch, d).
        decode: map from (batch, d) to (batch, *event).
        x: data, (batch, *event).

    Returns:
        What the strategy gives, and each penalty, (batch,); the volume and all penalties are NaN,
        without a gradient, where one of them fails.
    """

    def measure(points: Tensor) -> tuple[Embedded, list[Tensor], Tensor]:
        embedded = volume(encode, decode, points)
        values = [penalty(encode, decode, points, embedded) for penalty in penalties]
        failed = embedded.log_volume.detach().isnan()
        for value in values:
            failed = failed | ~value.detach().isfinite()
        return embedded, values, failed

    embedded, values, failed = measure(x)
    if penalties and some_fail(~failed):
        lost = failed.clone()
        lost[failed] = ~_differentiable(encode, decode, x[failed])
        if lost.any():
            u, x_hat = embedded.u.detach(), embedded.x_hat.detach()
            embedded, values, again = measure(elsewhere(x, ~lost))
            embedded = embedded._replace(
                u=where_rows(lost, u, embedded.u), x_hat=where_rows(lost, x_hat, embedded.x_hat)
            )
            failed = failed | again
    log_volume = torch.where(failed, torch.nan, embedded.log_volume)
    return (
        embedded._replace(log_volume=log_volume),
        [torch.where(failed, torch.nan, value) for value in values],
    )


@torch.enable_grad()
def _differentiable(encode: Map, decode: Map, x: Tensor) -> Tensor:
    """Where encoder and decoder have finite derivatives, (batch,)."""
    x = x.detach().requires_grad_()
    u = encode(x)
    found = torch.autograd.grad(decode(u).sum(), [x, u], materialize_grads=True)
    return torch.cat([part.flatten(1) for part in found], 1).isfinite().all(1)


def squared_norm(fn: Map, x: Tensor, *, probes: int | None = None) -> Tensor:
    """‖∂fn/∂x‖²_F of each sample, exactly or by an unbiased estimate.

    Args:
        fn: map from (batch, *in) to (batch, *out).
        x: points, (batch, *in).
        probes: random directions of the output for each sample; None is exact.

    Returns:
        (batch,).
    """
    if probes is None:
        return value_and_jacobian(fn, x)[1].square().sum((1, 2))
    # vᵀJ, by reverse mode twice: half the time of a step through J v, forward then reverse
    value, pull = pullback(fn, x)
    v = probes_like(value.flatten(1), probes).unflatten(2, value.shape[1:])
    return each(pull, v).flatten(2).square().sum(2).mean(0)


def _jacobian(decode: Map, embedded: Embedded) -> Tensor:
    if embedded.jacobian is not None:
        return embedded.jacobian
    return value_and_jacobian(decode, embedded.u)[1]


def _gram(decode: Map, embedded: Embedded) -> Tensor:
    j = _jacobian(decode, embedded)
    return j.mT @ j
