"""Normal targets: one with correlations, and the posteriors of a linear model at all noises."""

import math
from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional as F

from lightning_flows.core.errors import ConfigError
from lightning_flows.core.noise import normal_noise
from lightning_flows.targets.base import Target

__all__ = ["CorrelatedNormal", "NormalPosterior", "matrix_of", "vector_of"]


class CorrelatedNormal(Target):
    """A normal with any covariance Σ, log p̃(x) = -½ (x - μ)ᵀ Σ⁻¹ (x - μ).

    log Z = ½ log det 2πΣ.

    Args:
        covariance: Σ, rows of numbers.
        loc: the mean μ; zero by default.

    Raises:
        ConfigError: Σ is not symmetric and positive definite, or μ has another length.
    """

    factor: Tensor
    whitening: Tensor
    loc: Tensor

    def __init__(
        self,
        covariance: Sequence[Sequence[float]] = ((1.0, 0.9), (0.9, 1.0)),
        *,
        loc: Sequence[float] | None = None,
    ) -> None:
        matrix = matrix_of(covariance, "covariance")
        square = len(matrix) == matrix.shape[1] and torch.equal(matrix, matrix.mT)
        factor, failed = torch.linalg.cholesky_ex(matrix if square else -torch.eye(1))
        if failed:
            raise ConfigError(
                f"covariance is {covariance}; accepted are symmetric positive definite matrices."
            )
        features = len(matrix)
        super().__init__(features)
        mean = [0.0] * features if loc is None else loc
        self._as_buffer("factor", factor)
        identity = torch.eye(features, dtype=factor.dtype)
        self._as_buffer("whitening", torch.linalg.solve_triangular(factor, identity, upper=False))
        self._as_buffer("loc", vector_of(mean, features, "loc"))

    def log_prob(self, x: Tensor, context: Tensor | None = None) -> Tensor:
        return -0.5 * ((x - self.loc) @ self.whitening.mT).square().sum(1)

    def log_evidence(self, context: Tensor | None = None) -> Tensor:
        constant = 0.5 * len(self.factor) * math.log(2 * math.pi)
        return self.factor.diagonal().log().sum() + constant

    def draw(self, n: int, context: Tensor | None = None, temperature: float = 1.0) -> Tensor:
        noise = normal_noise((n, len(self.factor)), self.factor)
        return self.loc + temperature * noise @ self.factor.mT


class NormalPosterior(Target):
    """Posteriors of a linear model with normal noise, one for each noise level.

    The prior is x ~ N(0, I) and the observation y ~ N(A x, σ²I); context is log σ, (batch, 1). The
    target is the joint density log p̃(x | σ) = log N(x; 0, I) + log N(y; A x, σ²I), so that its
    mass is the evidence, log Z(σ) = log N(y; 0, A Aᵀ + σ²I): a whole path of targets whose means,
    variances and evidences are known (Bishop 2006, 3.49 and 2.115).

    Args:
        design: the matrix A, rows of numbers, one for each observation.
        observed: y.

    Raises:
        ConfigError: a matrix that is none, or observations of another number than rows of A.
    """

    design: Tensor
    observed: Tensor

    def __init__(
        self,
        design: Sequence[Sequence[float]] = ((1.0, 0.5), (0.0, 1.0)),
        observed: Sequence[float] = (1.0, -1.0),
    ) -> None:
        matrix = matrix_of(design, "design")
        count, features = matrix.shape
        y = vector_of(observed, count, "observed")
        super().__init__(features, 1)
        self._as_buffer("design", matrix)
        self._as_buffer("observed", y)

    def log_prob(self, x: Tensor, context: Tensor | None = None) -> Tensor:
        assert context is not None
        log_sigma = context[:, 0].to(x.dtype)
        residual = (self.observed - x @ self.design.mT) * (-log_sigma).exp()[:, None]
        constant = 0.5 * (x.shape[1] + len(self.observed)) * math.log(2 * math.pi)
        squares = x.square().sum(1) + residual.square().sum(1)
        return -0.5 * squares - len(self.observed) * log_sigma - constant

    def log_evidence(self, context: Tensor | None = None) -> Tensor:
        assert context is not None
        gains, turned, _ = self._taken_apart(len(self.observed))
        variances = gains.square() + self._variance(context)
        scores = -0.5 * (turned.square() / variances + (2 * math.pi * variances).log()).sum(1)
        return scores.to(self.design)

    def moments(self, context: Tensor) -> tuple[Tensor, Tensor]:
        """Mean (batch, features) and covariance (batch, features, features) of the posterior."""
        center, scale, basis = self._along(context)
        scaled = scale[:, :, None] * basis
        return (center @ basis).to(self.design), (scaled.mT @ scaled).to(self.design)

    def draw(self, n: int, context: Tensor | None = None, temperature: float = 1.0) -> Tensor:
        assert context is not None
        center, scale, basis = self._along(context)
        points = (center + temperature * scale * normal_noise(center.shape, center)) @ basis
        return points.to(self.design)

    def _along(self, context: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Means and standard deviations along the rows of a basis, (batch, features)."""
        gains, turned, basis = self._taken_apart(self.design.shape[1])
        variance = self._variance(context)
        total = gains.square() + variance
        return gains * turned / total, (variance / total).sqrt(), basis

    def _taken_apart(self, count: int) -> tuple[Tensor, Tensor, Tensor]:
        """Singular values of A and y along their directions, (count,), zeros after the last.

        And the directions of x that A takes apart, as rows. In double precision: small noise asks
        for every digit.
        """
        left, values, basis = torch.linalg.svd(self.design.double())
        turned = left.mT @ self.observed.double()
        most = max(self.design.shape)
        gains, turned = (F.pad(v, (0, most - len(v)))[:count] for v in (values, turned))
        return gains, turned, basis

    def _variance(self, context: Tensor) -> Tensor:
        """σ², (batch, 1)."""
        return (2 * context.double()).exp()


def matrix_of(rows: Sequence[Sequence[float]], name: str) -> Tensor:
    """Rows of numbers as a matrix.

    Raises:
        ConfigError: they are none.
    """
    try:
        matrix = torch.as_tensor(rows, dtype=torch.float64)
    except (TypeError, ValueError):
        matrix = torch.empty(0)
    if matrix.ndim != 2 or not matrix.numel() or not matrix.isfinite().all():
        raise ConfigError(f"{name} is {rows}; accepted are rows of finite numbers, equally long.")
    return matrix


def vector_of(entries: Sequence[float], count: int, name: str) -> Tensor:
    """So many numbers as a vector.

    Raises:
        ConfigError: they are others.
    """
    try:
        vector = torch.as_tensor(entries, dtype=torch.float64)
    except (TypeError, ValueError):
        vector = torch.empty(0)
    if vector.shape != (count,) or not vector.isfinite().all():
        raise ConfigError(f"{name} is {entries}; accepted are {count} finite numbers.")
    return vector
