"""The FID-like distance of papers on injective flows: Gaussians fitted to features."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torchmetrics import Metric

from lightning_flows.core.errors import DataError, ShapeError
from lightning_flows.metrics.samples import as_features, as_pair

__all__ = ["FrechetDistance", "frechet_distance", "gaussian_frechet_distance"]


def gaussian_frechet_distance(
    mean: Tensor, covariance: Tensor, other_mean: Tensor, other_covariance: Tensor
) -> Tensor:
    """Squared 2-Wasserstein distance between two Gaussians.

    ‖μ₁ - μ₂‖² + tr(C₁ + C₂ - 2 (C₁ C₂)^½), where the last trace is the sum of the singular values
    of C₁^½ C₂^½. Covariances may be singular.

    Args:
        mean: (d,).
        covariance: (d, d), symmetric, no negative eigenvalues.
        other_mean: (d,).
        other_covariance: (d, d).

    Returns:
        A scalar in double precision, in squared units of the features; NaN where the arguments
        are not finite.
    """
    first, second = as_features(covariance), as_features(other_covariance)
    shift = as_features((mean - other_mean)[None])
    parts = shift.square().sum() + first.trace() + second.trace()
    if not parts.isfinite():
        return parts.new_tensor(torch.nan)
    cross = torch.linalg.matrix_norm(_root(first) @ _root(second), ord="nuc")
    return torch.clamp(parts - 2 * cross, min=0)


def frechet_distance(samples: Tensor, data: Tensor, *, standardize: bool = True) -> Tensor:
    """Squared Fréchet (2-Wasserstein) distance between Gaussians fitted to two sets of features.

    The FID-like metric of rectangular flows (Caterini et al. 2021) and their successors. It is
    *squared*, and it sees two moments only: distributions that differ elsewhere get 0. The papers
    standardize by the training data; here it is by `data`, unless the features come standardized
    already and `standardize` is off.

    Args:
        samples: features of samples of a model, (n, *event).
        data: features of data, (m, *event).
        standardize: measure every feature in units of its standard deviation over `data`.

    Returns:
        A scalar in double precision; NaN where a feature is not finite.

    Raises:
        ShapeError: events differ in shape, or a set has fewer than two.
        DataError: a feature that is to be standardized is constant over `data`.
    """
    first, second = as_pair(samples, data, least=2)
    return _distance(_moments(first), _moments(second), standardize)


class FrechetDistance(Metric):
    """`frechet_distance` over batches.

    Its state are sums, so several processes give what one gives. There is no standard error:
    sums alone do not tell one, and sets of few points make the distance larger, not only less
    certain. Compare models at equal numbers of points, and repeat with other samples.

    Args:
        dimension: number of features.
        features: map from a batch to its features, (batch, *event) to (batch, dimension), such as
            a network in evaluation mode; the entries of events themselves by default.
        standardize: measure every feature in units of its standard deviation over the data.
        kwargs: options of `torchmetrics.Metric`.
    """

    is_differentiable = False
    higher_is_better = False
    full_state_update = False

    def __init__(
        self,
        dimension: int,
        *,
        features: Callable[[Tensor], Tensor] | None = None,
        standardize: bool = True,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.dimension = dimension
        self.features = features
        self.standardize = standardize
        for side in ("samples", "data"):
            zeros = torch.zeros(dimension, dtype=torch.float64)
            self.add_state(f"{side}_count", torch.tensor(0), dist_reduce_fx="sum")
            self.add_state(f"{side}_sum", zeros, dist_reduce_fx="sum")
            self.add_state(f"{side}_products", zeros.outer(zeros), dist_reduce_fx="sum")

    @torch.no_grad()
    def update(self, x: Tensor, *, real: bool) -> None:
        """Take points, (batch, *event): data where `real`, samples of a model otherwise.

        Raises:
            ShapeError: there are not `dimension` features.
        """
        features = as_features(x if self.features is None else self.features(x))
        if features.shape[1] != self.dimension:
            raise ShapeError(
                f"FrechetDistance got {features.shape[1]} features; dimension is {self.dimension}."
            )
        side = "data" if real else "samples"
        for name, value in (
            ("count", len(features)),
            ("sum", features.sum(0)),
            ("products", features.mT @ features),
        ):
            setattr(self, f"{side}_{name}", getattr(self, f"{side}_{name}") + value)

    def compute(self) -> Tensor:
        """The distance between all points so far, a scalar.

        Raises:
            ShapeError: there are fewer than two samples, or fewer than two points of data.
            DataError: a feature that is to be standardized is constant over the data.
        """
        return _distance(self._moments("samples"), self._moments("data"), self.standardize)

    def _moments(self, side: str) -> tuple[Tensor, Tensor]:
        count, total, products = (
            getattr(self, f"{side}_{name}") for name in ("count", "sum", "products")
        )
        if count < 2:
            raise ShapeError(f"FrechetDistance got {int(count)} {side}; at least 2 are needed.")
        mean = total / count
        return mean, (products - count * mean.outer(mean)) / (count - 1)


Moments = tuple[Tensor, Tensor]


def _moments(features: Tensor) -> Moments:
    return features.mean(0), features.mT.cov().reshape(features.shape[1], features.shape[1])


def _distance(samples: Moments, data: Moments, standardize: bool) -> Tensor:
    if standardize:
        mean, covariance = data
        variance = covariance.diagonal()
        # what is left of a constant where the square of its mean was subtracted
        constant = (variance <= 1e-14 * mean.square()).nonzero().flatten().tolist()
        if constant:
            raise DataError(
                f"{len(constant)} of {len(mean)} features are constant over the data (first: "
                f"{constant[0]}) and cannot be standardized; leave them out, give other features, "
                "or switch standardize off."
            )
        scale = variance.sqrt()
        samples, data = (
            (mean / scale, covariance / scale.outer(scale)) for mean, covariance in (samples, data)
        )
    return gaussian_frechet_distance(*samples, *data)


def _root(matrix: Tensor) -> Tensor:
    """Symmetric square root; eigenvalues that rounding has made negative count as 0."""
    values, vectors = torch.linalg.eigh((matrix + matrix.mT) / 2)
    return torch.mm(vectors * values.clamp(min=0).sqrt(), vectors.mT)
