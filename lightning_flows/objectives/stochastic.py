"""Volume of an injective map by random probes."""

import torch
from torch import Tensor

from lightning_flows.core.errors import check_least, check_positive
from lightning_flows.core.linalg import solve_triangular, widened
from lightning_flows.core.noise import normal_noise
from lightning_flows.jacobians.log_volume import log_diagonal
from lightning_flows.jacobians.products import Map, cotangents, jacobian, tangents
from lightning_flows.objectives.conjugate_gradients import Solution, conjugate_gradients
from lightning_flows.objectives.failures import Embedded, around_failures, some_fail
from lightning_flows.objectives.volume import Volume

__all__ = ["StochasticVolume", "probes_like"]

DIRECT = 512  # latents up to which building J beats iterating, also at small condition numbers
CHUNK = 64  # tangents that go through the decoder at once
ENTRIES = 2**27  # of J that are held at once


class StochasticVolume(Volume):
    """Probes v with E[v vᵀ] = I give an unbiased gradient from one tangent each.

    ∇ ½ log det JᵀJ = tr(J⁺ ∇J) = E[cᵀ ∇(J v)] with c = J (JᵀJ)⁻¹ v, and only J v carries a
    gradient. RNFs-ML (K) (Caterini et al. 2021) take ½ E[vᵀ (JᵀJ)⁻¹ ∇(JᵀJ) v] from the two tangents
    J v and J (JᵀJ)⁻¹ v: the same on average, with more scatter where J is badly conditioned.

    Up to 512 latents J is built without a graph, and c = Q R⁻ᵀ v from its QR decomposition. Beyond,
    conjugate gradients solve for (JᵀJ)⁻¹ v until the residual of *every* sample is below the
    tolerance; stopping earlier would take the gradient from just the directions that are about to
    collapse. They converge within some fifty products where J is well conditioned. Samples that are
    not solved by the time at which building J would have been cheaper are solved directly: in
    single precision all whose J has a condition number beyond some hundred. After conjugate
    gradients the value is zero, and only the gradient counts.

    Args:
        probes: number of probe vectors for each sample.
        chunk_size: how many tangents of the graph-free J go through the decoder at once; 64 by
            default.
        direct: number of latents up to which J is built.
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
        check_least(1, probes=probes)
        check_positive(tolerance=tolerance)
        self.probes = probes
        check_least(1, chunk_size=chunk_size)
        self.chunk_size = chunk_size
        self.direct = direct
        self.tolerance = tolerance

    def __call__(self, encode: Map, decode: Map, x: Tensor) -> Embedded:
        u = encode(x)
        v = probes_like(u, self.probes)
        if u.shape[1] <= self.direct:
            solution = None
            value, c, finite = self._solve(decode, u.detach(), v, x.shape[1:].numel())
        else:
            solution = self._conjugate(decode, u.detach(), v)
            value, c, finite = self._finish(solution, decode, u.detach(), v, x.shape[1:].numel())
        c = torch.where(value.isnan()[:, None], 0.0, c)

        def differentiate(points: Tensor) -> tuple[Tensor, Tensor]:
            return tangents(decode, points, v)

        if some_fail(finite):
            x_hat, pushed = around_failures(differentiate, decode, u, finite)
        else:
            x_hat, pushed = differentiate(u)
        surrogate = (pushed.flatten(2) * c).sum(2).mean(0)
        log_volume = value + (surrogate - surrogate.detach())
        return Embedded(u, x_hat, log_volume, solution=solution)

    @torch.no_grad()
    def _solve(self, decode: Map, u: Tensor, v: Tensor, rows: int) -> tuple[Tensor, Tensor, Tensor]:
        """Log-volumes (batch,), c (K, batch, D), and whether J of D rows is finite, (batch,)."""
        values, solutions, finite = [], [], []
        pieces = max(1, ENTRIES // (rows * u.shape[1]))
        for points, probes in zip(u.split(pieces), v.split(pieces, 1), strict=True):
            j = jacobian(decode, points, chunk_size=self.chunk_size or CHUNK)
            q, r = torch.linalg.qr(widened(j))
            half = solve_triangular(r.mT, widened(probes).permute(1, 2, 0), upper=False)
            values.append(log_diagonal(r, q.shape[1]))
            solutions.append((q @ half).permute(2, 0, 1).to(v.dtype))
            finite.append(r.isfinite().flatten(1).all(1))
        return torch.cat(values), torch.cat(solutions, 1), torch.cat(finite)

    @torch.no_grad()
    def _conjugate(self, decode: Map, u: Tensor, v: Tensor) -> Solution:
        """(JᵀJ)⁻¹ v by conjugate gradients."""

        def gram(vectors: Tensor) -> Tensor:
            columns = tangents(decode, u, vectors)[1]
            return cotangents(decode, u, columns)[1]

        return conjugate_gradients(
            gram, v, tolerance=self.tolerance, max_iterations=u.shape[1] // 2 + 20
        )

    @torch.no_grad()
    def _finish(
        self, solution: Solution, decode: Map, u: Tensor, v: Tensor, rows: int
    ) -> tuple[Tensor, Tensor, Tensor]:
        """What `_solve` gives, with zero in place of the log-volumes; it solves what is not yet."""
        value, finite = u.new_zeros(len(u)), u.new_ones(len(u)).bool()
        c = tangents(decode, u, solution.solution)[1].flatten(2)
        unsolved = (solution.residuals > 10 * self.tolerance).any(0)
        if unsolved.any():
            found, exact, sound = self._solve(decode, u[unsolved], v[:, unsolved], rows)
            value[unsolved] = (0 * found).to(value)
            c[:, unsolved] = exact
            finite[unsolved] = sound
        return value, c, finite


def probes_like(u: Tensor, count: int) -> Tensor:
    """Probes on the sphere of radius √d, E[v vᵀ] = I: (count, batch, d).

    Normalizing removes most of the variance where the matrix is near the identity; making several
    probes orthogonal hardly adds to that unless they are as many as dimensions.
    """
    # rows first, so that in evaluation mode they are a hash of the data
    v = normal_noise((len(u), count, *u.shape[1:]), u).transpose(0, 1)
    length = v.norm(dim=2, keepdim=True)
    # one float32 number in 2^24 is drawn as exactly 0, which has no direction
    unit = torch.where(length > 0, v / length, u.shape[1] ** -0.5)
    scaled: Tensor = u.shape[1] ** 0.5 * unit
    return scaled
