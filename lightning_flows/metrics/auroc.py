"""How well a score tells data from what is foreign to it, over all thresholds."""

from typing import Any

import torch
from torch import Tensor
from torchmetrics import Metric
from torchmetrics.functional.classification import binary_auroc

from lightning_flows.core.errors import DataError
from lightning_flows.metrics.samples import joined

__all__ = ["OutOfDistributionAUROC", "auroc", "check_scores"]


def check_scores(*sets: Tensor) -> None:
    """Refuse scores that cannot be put in order.

    Raises:
        DataError: a set is empty or holds NaN.
    """
    for scores in sets:
        if not len(scores):
            raise DataError("A set of scores is empty.")
        if scores.isnan().any():
            raise DataError(f"{int(scores.isnan().sum())} of {len(scores)} scores are NaN.")


def auroc(inside: Tensor, outside: Tensor) -> Tensor:
    """Area under the ROC curve: how probably a foreign point has the higher score.

    Equal scores count half. Only the order of scores matters, so they may be of any size, and
    infinite.

    Args:
        inside: scores of data, (n,); high means foreign.
        outside: scores of foreign points, (m,).

    Returns:
        A scalar in [0, 1].

    Raises:
        DataError: a set is empty or holds NaN.
    """
    check_scores(inside, outside)
    scores = torch.cat([inside, outside])
    foreign = torch.arange(len(scores), device=scores.device) >= len(inside)
    # binary_auroc squashes what lies outside of [0, 1], where log-densities become equal: so ranks
    ranks = scores.unique(return_inverse=True)[1]
    area: Tensor = binary_auroc(ranks / len(ranks), foreign.long())
    return area


class OutOfDistributionAUROC(Metric):
    """`auroc` over batches.

    Args:
        kwargs: options of `torchmetrics.Metric`.
    """

    is_differentiable = False
    higher_is_better = True
    full_state_update = False

    inside: list[Tensor]
    outside: list[Tensor]

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.add_state("inside", default=[], dist_reduce_fx="cat")
        self.add_state("outside", default=[], dist_reduce_fx="cat")

    def update(self, scores: Tensor, *, foreign: bool) -> None:
        """Take scores, (batch,), of data or of foreign points."""
        (self.outside if foreign else self.inside).append(scores.detach())

    def compute(self) -> Tensor:
        """The area over all scores so far, a scalar."""
        return auroc(joined(self.inside), joined(self.outside))
