"""How many directions of data space a flow uses at all, over many points."""

from typing import Any

import torch
from torch import Tensor
from torchmetrics import Metric

from lightning_flows.components.dimension import count_dimension, shrinkage
from lightning_flows.core.errors import ShapeError, check_least

__all__ = ["SpannedDimension", "spanned_dimension", "spanned_variances"]


def spanned_variances(axes: Tensor, variances: Tensor) -> Tensor:
    """Eigenvalues of the mean over points of Σ_k λ_k u_k u_kᵀ, widest first.

    Around one point a flow that bends may be thin along directions that the data as a whole do vary
    in; this mean sees those as well. For a normal base it is the mean of J Jᵀ less the shrinkage,
    and the Poincaré inequality Var f(z) ≤ E ‖∇f(z)‖² (Chernoff 1981) with f = wᵀ decode says that
    over samples of the flow it is, along every w, at least the variance of the samples.

    Args:
        axes: all principal axes at some points, (batch, k, *event). A point where one is NaN is
            left out.
        variances: what belongs to them, less the shrinkage, (batch, k).

    Returns:
        (D,) for events of D entries, double precision; NaN where no point is left.
    """
    moment, count = _moment(axes, variances)
    return _spectrum(moment, count)


def spanned_dimension(
    axes: Tensor,
    scales: Tensor,
    *,
    tikhonov: float = 0.0,
    noise: float = 0.0,
    threshold: float = 5.0,
    relative: float = 1e-3,
) -> Tensor:
    """Number of directions that data vary in anywhere: the dimension of the subspace they span.

    Where columns of a table depend on each other linearly, it is the rank of the table. For data on
    a plane it is the intrinsic dimension, and for others it may be more.

    Args:
        axes: all principal axes at some points, (batch, k, *event), in model space: `axes` of
            `components.Components`, at right angles to each other.
        scales: standard deviations along them there, (batch, k).
        tikhonov: weight α of the Tikhonov term that the flow was trained with.
        noise: the same said by the standard deviation of noise on its data, 2α = σ².
        threshold: multiple of 2α that a variance must exceed, with `tikhonov` or `noise`.
        relative: fraction of the largest variance that it must exceed, without.

    Returns:
        A scalar, floating point; NaN where no point is left.
    """
    floor = shrinkage(tikhonov, noise)
    variances = spanned_variances(axes, scales.double().square() - floor)
    return _count(variances, floor, threshold, relative)


class SpannedDimension(Metric):
    """`spanned_dimension` over batches.

    Its state is a matrix of D by D sums, so several processes give what one gives.

    Args:
        features: number D of entries of an event.
        tikhonov: weight α of the Tikhonov term that the flow was trained with.
        noise: the same said by the standard deviation of noise on its data, 2α = σ².
        threshold: multiple of 2α that a variance must exceed, with `tikhonov` or `noise`.
        relative: fraction of the largest variance that it must exceed, without.
        kwargs: options of `torchmetrics.Metric`.
    """

    is_differentiable = False
    full_state_update = False

    moment: Tensor
    count: Tensor

    def __init__(
        self,
        features: int,
        *,
        tikhonov: float = 0.0,
        noise: float = 0.0,
        threshold: float = 5.0,
        relative: float = 1e-3,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        check_least(1, features=features)
        self.features = features
        self.floor = shrinkage(tikhonov, noise)
        self.threshold = threshold
        self.relative = relative
        zeros = torch.zeros(features, features, dtype=torch.float64)
        self.add_state("moment", zeros, dist_reduce_fx="sum")
        self.add_state("count", torch.tensor(0), dist_reduce_fx="sum")

    @torch.no_grad()
    def update(self, axes: Tensor, scales: Tensor) -> None:
        """Take all axes (batch, k, *event) and scales (batch, k) of some points.

        Raises:
            ShapeError: events do not have `features` entries.
        """
        entries = axes.shape[2:].numel()
        if entries != self.features:
            raise ShapeError(f"axes have {entries} entries each; features is {self.features}.")
        moment, count = _moment(axes, scales.double().square() - self.floor)
        self.moment = self.moment + moment
        self.count = self.count + count

    def compute(self) -> Tensor:
        """The number so far, a scalar; NaN where there were no points."""
        variances = _spectrum(self.moment, self.count)
        return _count(variances, self.floor, self.threshold, self.relative)


def _moment(axes: Tensor, variances: Tensor) -> tuple[Tensor, Tensor]:
    """Sum over points of Σ λ u uᵀ, (D, D), and their number."""
    flat, weights = axes.flatten(2).double(), variances.double()
    whole = flat.isfinite().all(2).all(1) & weights.isfinite().all(1)
    rows = flat[whole].flatten(0, 1)
    return rows.T @ (weights[whole].reshape(-1, 1) * rows), whole.sum()


def _spectrum(moment: Tensor, count: Tensor) -> Tensor:
    if not count:
        return moment.new_full((len(moment),), torch.nan)
    eigenvalues: Tensor = torch.linalg.eigvalsh(moment / count)
    return eigenvalues.flip(0)


def _count(variances: Tensor, floor: float, threshold: float, relative: float) -> Tensor:
    counted = count_dimension(variances[None], floor, threshold, relative)[0].to(variances)
    return torch.where(variances.isnan().any(), torch.nan, counted)
