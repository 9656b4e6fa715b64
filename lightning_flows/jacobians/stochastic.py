"""Volume of an injective map by random probes."""

import torch
from torch import Tensor

from lightning_flows.bases.noise import normal_noise
from lightning_flows.errors import ConfigError
from lightning_flows.jacobians.conjugate_gradients import Solution, conjugate_gradients
from lightning_flows.jacobians.products import cotangents, jacobian, tangents
from lightning_flows.jacobians.volume import (
    Embedded,
    Map,
    Volume,
    around_failures,
    check_chunk_size,
    log_diagonal,
    some_fail,
)
from lightning_flows.transforms.linear import solve_triangular, widened

__all__ = ["StochasticVolume", "probes_like"]

DIRECT = 64  # latents up to which building J beats iterating


class StochasticVolume(Volume):
    """Probes v with E[v vᵀ] = I give an unbiased gradient from two tangents each.

    ∇ ½ log det JᵀJ = ½ E[vᵀ (JᵀJ)⁻¹ ∇(JᵀJ) v] (RNFs-ML (K), Caterini et al. 2021). Only J v and
    J (JᵀJ)⁻¹ v carry gradients. Up to 64 latents J is built without a graph and (JᵀJ)⁻¹ v is
    solved directly from its QR decomposition. Beyond, conjugate gradients run until the residual
    of *every* sample is below the tolerance; stopping earlier would take the gradient from just
    the directions that are about to collapse. The value is then zero, and only the gradient
    counts; that J is not of full rank shows in the residuals alone (`last_solution`).

    Args:
        probes: number of probe vectors for each sample.
        chunk_size: how many tangents of the graph-free J go through the decoder at once.
        direct: number of latents up to which (JᵀJ)⁻¹ v is solved directly.
        tolerance: relative residual at which conjugate gradients stop.

    Raises:
        ConfigError: an option is not positive.
    """

    def __init__(
        self,
        probes: int = 1,
        chunk_size: int | None = None,
        *,
        direct: int = DIRECT,
        tolerance: float = 1e-4,
    ) -> None:
        if probes < 1:
            raise ConfigError(f"probes is {probes}; accepted are positive integers.")
        if not tolerance > 0:
            raise ConfigError(f"tolerance is {tolerance}; accepted are positive numbers.")
        self.probes = probes
        self.chunk_size = check_chunk_size(chunk_size)
        self.direct = direct
        self.tolerance = tolerance

    def __call__(self, encode: Map, decode: Map, x: Tensor) -> Embedded:
        u = encode(x)
        v = probes_like(u, self.probes)
        if u.shape[1] <= self.direct:
            with torch.no_grad():
                j = widened(jacobian(decode, u, chunk_size=self.chunk_size))
                r = torch.linalg.qr(j, mode="r").R
                value, w = log_diagonal(r), _solve_gram(r, v)
            finite = r.isfinite().flatten(1).all(1)
            self.last_solution = None
        else:
            self.last_solution = self._iterate(decode, u.detach(), v)
            w = self.last_solution.solution
            finite = self.last_solution.residuals.isfinite().all(0)
            value = torch.where(finite, 0.0, torch.nan).to(u.dtype)
        directions = torch.cat([v, torch.where(value.isnan()[:, None], 0.0, w)])

        def differentiate(points: Tensor) -> tuple[Tensor, Tensor]:
            return tangents(decode, points, directions)

        if some_fail(finite):
            x_hat, products = around_failures(differentiate, decode, u, finite)
        else:
            x_hat, products = differentiate(u)
        products = products.flatten(2)
        surrogate = 0.5 * (products[: self.probes] * products[self.probes :]).sum(2).mean(0)
        return Embedded(u, x_hat, value + (surrogate - surrogate.detach()))

    @torch.no_grad()
    def _iterate(self, decode: Map, u: Tensor, v: Tensor) -> Solution:
        def gram(vectors: Tensor) -> Tensor:
            columns = tangents(decode, u, vectors)[1]
            return cotangents(decode, u, columns)[1]

        return conjugate_gradients(gram, v, tolerance=self.tolerance)


def probes_like(u: Tensor, count: int) -> Tensor:
    """Probes on the sphere of radius √d, E[v vᵀ] = I: (count, batch, d).

    Normalising removes most of the variance where the matrix is near the identity; making several
    probes orthogonal hardly adds to that unless they are as many as dimensions.
    """
    # rows first, so that in evaluation mode they are a hash of the data
    v = normal_noise((len(u), count, *u.shape[1:]), u).transpose(0, 1)
    length = v.norm(dim=2, keepdim=True)
    # one float32 number in 2^24 is drawn as exactly 0, which has no direction
    unit = torch.where(length > 0, v / length, u.shape[1] ** -0.5)
    scaled: Tensor = u.shape[1] ** 0.5 * unit
    return scaled


def _solve_gram(r: Tensor, v: Tensor) -> Tensor:
    """(RᵀR)⁻¹ v for probes (K, batch, d)."""
    half = solve_triangular(r.mT, widened(v).permute(1, 2, 0), upper=False)
    return solve_triangular(r, half, upper=True).permute(2, 0, 1).to(v.dtype)
