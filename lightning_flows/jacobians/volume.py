"""The volume element of an injective map, ½ log det JᵀJ, and ways to descend on it.

A strategy returns a tensor whose *value* is the true log-volume of each sample and whose
*gradient* is right, or an unbiased estimate. So training curves show what they name.

Here J is the Jacobian of the decoder, latent → data, (D, d) for each sample.
"""

from collections.abc import Callable

import torch
from torch import Tensor

from lightning_flows.errors import ConfigError
from lightning_flows.jacobians.products import jacobian, tangents, value_and_jacobian
from lightning_flows.recipe import Recorded

__all__ = ["ExactVolume", "StochasticVolume", "Volume", "log_volume"]

Decoder = Callable[[Tensor], Tensor]


class Volume(Recorded):
    """Strategy that gives a reconstruction and the log-volume with a gradient.

    Args:
        chunk_size: how many tangents go through the decoder at once; all unless given.

    Raises:
        ConfigError: `chunk_size` is not positive.
    """

    def __init__(self, chunk_size: int | None = None) -> None:
        if chunk_size is not None and chunk_size < 1:
            raise ConfigError(f"chunk_size is {chunk_size}; accepted are positive integers.")
        self.chunk_size = chunk_size

    def __call__(self, decode: Decoder, z: Tensor) -> tuple[Tensor, Tensor]:
        """Decode and measure.

        Args:
            decode: map from (batch, d) to (batch, *event).
            z: where to decode, (batch, d).

        Returns:
            decode(z), (batch, *event), and ½ log det JᵀJ, (batch,) in nats.
        """
        raise NotImplementedError


class ExactVolume(Volume):
    """All d tangents, the gradient of ½ log det JᵀJ itself (RNFs-ML exact, Caterini et al. 2021).

    Args:
        chunk_size: how many tangents go through the decoder at once; all unless given. Smaller
            chunks need less memory at evaluation; in training the graph holds all of them.
    """

    def __init__(self, chunk_size: int | None = None) -> None:
        super().__init__(chunk_size)

    def __call__(self, decode: Decoder, z: Tensor) -> tuple[Tensor, Tensor]:
        x, j = value_and_jacobian(decode, z, chunk_size=self.chunk_size)
        return x, _HalfLogDet.apply(j)


class StochasticVolume(Volume):
    """Probes v with E[v vᵀ] = I give an unbiased gradient from two tangents each.

    ∇ ½ log det JᵀJ = ½ E[vᵀ (JᵀJ)⁻¹ ∇(JᵀJ) v] (Caterini et al. 2021, eq. 12). J is built without a
    graph and (JᵀJ)⁻¹ v is solved directly from its QR decomposition, so nothing is left to a
    tolerance; only J v and J (JᵀJ)⁻¹ v carry gradients.

    Args:
        probes: number of probe vectors for each sample.
        chunk_size: how many tangents of the graph-free J go through the decoder at once.

    Raises:
        ConfigError: fewer than one probe.
    """

    def __init__(self, probes: int = 1, chunk_size: int | None = None) -> None:
        if probes < 1:
            raise ConfigError(f"probes is {probes}; accepted are positive integers.")
        super().__init__(chunk_size)
        self.probes = probes

    def __call__(self, decode: Decoder, z: Tensor) -> tuple[Tensor, Tensor]:
        with torch.no_grad():
            j = jacobian(decode, z.detach(), chunk_size=self.chunk_size)
            r = torch.linalg.qr(j, mode="r").R
            value = _log_diagonal(r)
        if not torch.is_grad_enabled():
            return decode(z), value
        v = torch.randn(self.probes, *z.shape, dtype=z.dtype, device=z.device)
        w = _solve_gram(r, v)
        x, products = tangents(decode, z, torch.cat([v, w]))
        products = products.flatten(2)
        surrogate = 0.5 * (products[: self.probes] * products[self.probes :]).sum(2).mean(0)
        return x, value + (surrogate - surrogate.detach())


def log_volume(decode: Decoder, z: Tensor, *, chunk_size: int | None = None) -> Tensor:
    """True ½ log det JᵀJ of the decoder at z by QR: (batch, d) -> (batch,), nats.

    Differentiable in reverse and forward mode; call it under `no_grad` to only measure.
    """
    return _log_diagonal(torch.linalg.qr(jacobian(decode, z, chunk_size=chunk_size)).R)


class _HalfLogDet(torch.autograd.Function):
    """½ log det JᵀJ = Σ log|R_ii| with J = QR; its gradient is J (JᵀJ)⁻¹ = Q R⁻ᵀ."""

    @staticmethod
    def forward(ctx, j: Tensor) -> Tensor:  # type: ignore[no-untyped-def] # torch types no ctx
        q, r = torch.linalg.qr(j)
        ctx.save_for_backward(q, r)
        return _log_diagonal(r)

    @staticmethod
    def backward(ctx, grad: Tensor) -> Tensor:  # type: ignore[no-untyped-def] # as above
        q, r = ctx.saved_tensors
        pseudo_inverse: Tensor = torch.linalg.solve_triangular(r, q.mT, upper=True)
        return pseudo_inverse.mT * grad[:, None, None]


def _log_diagonal(r: Tensor) -> Tensor:
    return r.diagonal(dim1=1, dim2=2).abs().log().sum(1)


def _solve_gram(r: Tensor, v: Tensor) -> Tensor:
    """(RᵀR)⁻¹ v for probes (K, batch, d)."""
    half = torch.linalg.solve_triangular(r.mT, v.permute(1, 2, 0), upper=False)
    solution: Tensor = torch.linalg.solve_triangular(r, half, upper=True)
    return solution.permute(2, 0, 1)
