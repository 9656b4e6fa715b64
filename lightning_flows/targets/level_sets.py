"""Posteriors of penalized regression: uniform priors on the level sets of ‖β‖_p, at all levels."""

import math
from collections.abc import Sequence

import torch
from torch import Tensor
from torch.distributions import MultivariateNormal

from lightning_flows.core.areas import log_lp_area
from lightning_flows.core.errors import ConfigError, check_positive
from lightning_flows.core.hypersurfaces import FLOOR, LpSphere, log_norm
from lightning_flows.targets.base import Target
from lightning_flows.targets.normals import matrix_of, vector_of

__all__ = ["LpRegression"]

SHRINKAGE = (0.02, 0.05, 0.1, 0.2, 0.5, 2.0)  # standard deviations of priors that draws come from
NODES = 48  # along each ray
WIDTH = 8.0  # standard deviations on either side of the peak


class LpRegression(Target):
    """Posteriors of a linear model whose coefficients lie on a level set ‖β‖_p = k.

    The likelihood is y ~ N(X β, σ²I) and the prior is uniform on the level set with respect to its
    area; context is log k, (batch, 1). The target is their product,

        log p̃(β | k) = log N(y; X β, σ²I) - log area_p - (d - 1) log k,

    so that its mass is the marginal likelihood of k: penalized regression, of which this is the
    whole path, with a level that is chosen by the evidence (Negri et al. 2024, arXiv 2406.09116).

    Args:
        p: exponent of the penalty: 2 ridge, 1 lasso, below 1 too.
        noise: σ.
        design: X, rows of numbers, one for each observation; the diabetes data of scikit-learn by
            default, 442 patients and 10 covariates.
        observed: y, of the diabetes data by default. Both are standardized.

    Raises:
        ConfigError: an option is out of range, a matrix is none or of too small a rank, or only one
            of `design` and `observed` is given.
    """

    best: Tensor
    root: Tensor

    def __init__(
        self,
        p: float = 1.0,
        *,
        noise: float = 0.7,
        design: Sequence[Sequence[float]] | None = None,
        observed: Sequence[float] | None = None,
    ) -> None:
        check_positive(p=p, noise=noise)
        x, y = _data(design, observed)
        count, features = x.shape
        if features < 2 or torch.linalg.matrix_rank(x) < features:
            raise ConfigError(
                f"design has {features} columns, of rank {int(torch.linalg.matrix_rank(x))}; "
                "accepted are two or more that are linearly independent."
            )
        super().__init__(features, 1, LpSphere(features - 1, float(p), None))
        self.p, self.noise = float(p), float(noise)
        best = torch.linalg.lstsq(x, y[:, None]).solution[:, 0]
        left = float((y - x @ best).square().sum())
        self.log_peak = -0.5 * (
            left / self.noise**2 + count * math.log(2 * math.pi * self.noise**2)
        )
        self.log_area = log_lp_area(features, self.p)
        self._as_buffer("best", best)
        self._as_buffer("root", torch.linalg.cholesky(x.mT @ x / self.noise**2))

    def log_likelihood(self, x: Tensor) -> Tensor:
        """Log N(y; X β, σ²I) of coefficients, (batch, d) -> (batch,)."""
        return self.log_peak - 0.5 * ((x - self.best) @ self.root).square().sum(1)

    def log_prob(self, x: Tensor, context: Tensor | None = None) -> Tensor:
        assert context is not None
        log_level = context[:, 0].to(x.dtype)
        return self.log_likelihood(x) - self.log_area - (x.shape[1] - 1) * log_level

    def log_evidence(self, context: Tensor | None = None) -> Tensor:
        assert context is not None
        return self.evidence(context)[0].to(self.best)

    @torch.no_grad()
    def evidence(
        self, context: Tensor, *, draws: int = 60_000, seed: int = 0
    ) -> tuple[Tensor, Tensor]:
        """Marginal likelihoods by importance sampling of directions; no flow is involved.

        Directions v = β / ‖β‖_p come from a mixture of ridge posteriors, and their density f is an
        integral along the ray, by the trapezoid rule. The area of the level set is
        k^(d-1) ‖∇‖v‖_p‖₂ per direction, so that the integral of the likelihood over it is

            E_v[N(y; k X v, σ²I) k^(d-1) ‖∇‖v‖_p‖₂ / f(v)].

        For p ≤ ½ the weights have no variance, and the standard error says nothing.

        Args:
            context: log k, (batch, 1).
            draws: number of directions.
            seed: of the draws.

        Returns:
            Log-evidence and its standard error, each (batch,), nats.
        """
        root, best = self.root.double(), self.best.double()
        gram, features = root @ root.mT, len(best)
        identity = torch.eye(features, dtype=best.dtype, device=best.device)
        precisions = [gram + identity / scale**2 for scale in SHRINKAGE]
        priors = [
            MultivariateNormal(torch.linalg.solve(a, gram @ best), precision_matrix=a)
            for a in precisions
        ]
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            each = torch.Size((-(-draws // len(priors)),))
            points = torch.cat([prior.sample(each) for prior in priors])
        v = points / log_norm(points, self.p).exp()[:, None]
        log_f = torch.stack([_along_rays(prior, v) for prior in priors])
        log_f = log_f.logsumexp(0) - math.log(len(priors))
        slopes = (self.p - 1) * (v.abs() + FLOOR).log()
        fixed = (2 * slopes).logsumexp(1) / 2 - log_f - self.log_area
        values, errors = [], []
        for level in context[:, 0].double().exp():
            residual = (level * v - best) @ root
            logs = self.log_peak - 0.5 * residual.square().sum(1) + fixed
            values.append(logs.logsumexp(0) - math.log(len(logs)))
            errors.append((logs - values[-1]).exp().std() / math.sqrt(len(logs)))
        return torch.stack(values), torch.stack(errors)


def _along_rays(normal: MultivariateNormal, v: Tensor) -> Tensor:
    """Log ∫ N(ρ v) ρ^(d-1) dρ over ρ > 0, of directions (n, d): (n,)."""
    d = v.shape[1]
    a = ((v @ normal.precision_matrix) * v).sum(1)
    b = (v @ normal.precision_matrix) @ normal.loc
    peak = (b + (b.square() + 4 * a * (d - 1)).sqrt()) / (2 * a)
    spread = (a + (d - 1) / peak.square()).rsqrt()
    low = (peak - WIDTH * spread).clamp(min=0)
    step = (peak + WIDTH * spread - low) / NODES
    places = torch.arange(1, NODES + 1, dtype=v.dtype, device=v.device)
    rho = low[:, None] + step[:, None] * places
    logs = -0.5 * a[:, None] * rho.square() + b[:, None] * rho + (d - 1) * rho.log()
    height = normal.log_prob(torch.zeros_like(normal.loc))
    found: Tensor = logs.logsumexp(1) + step.log() + height
    return found


def _data(
    design: Sequence[Sequence[float]] | None, observed: Sequence[float] | None
) -> tuple[Tensor, Tensor]:
    """X and y, standardized."""
    if (design is None) != (observed is None):
        raise ConfigError("design and observed belong together; one of them is missing.")
    if design is None or observed is None:
        from sklearn.datasets import load_diabetes

        design, observed = (part.tolist() for part in load_diabetes(return_X_y=True))
    x = matrix_of(design, "design")
    y = vector_of(observed, len(x), "observed")
    if len(x) < 2 or not (x.std(0) > 0).all() or not y.std() > 0:
        raise ConfigError("design or observed has a constant column; accepted are those that vary.")
    x = (x - x.mean(0)) / x.std(0, correction=0)
    return x, (y - y.mean()) / y.std(correction=0)
