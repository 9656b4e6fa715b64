"""How well one threshold on a score, learned from both kinds of points, tells them apart."""

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torchmetrics import Metric

from lightning_flows.metrics.auroc import check_scores
from lightning_flows.metrics.samples import joined

__all__ = ["Stump", "StumpAccuracy", "fit_stump", "stump_accuracy"]


@dataclass(frozen=True)
class Stump:
    """A decision tree of depth one on a score.

    Args:
        threshold: where it parts the scores.
        below: whether scores up to the threshold are called foreign.
        above: whether scores beyond the threshold are called foreign.
    """

    threshold: float
    below: bool
    above: bool

    def __call__(self, scores: Tensor) -> Tensor:
        """Which scores are called foreign: (n,) to (n,), bool."""
        below = scores.double() <= self.threshold
        return (below & self.below) | (~below & self.above)


def fit_stump(inside: Tensor, outside: Tensor) -> Stump:
    """Fit a stump by least Gini impurity, each side called what most of its points are.

    The threshold lies in the middle between two scores, or on the lower one where there is no
    middle.

    Args:
        inside: scores of data, (n,).
        outside: scores of foreign points, (m,).

    Raises:
        DataError: a set is empty or holds NaN.
    """
    check_scores(inside, outside)
    scores, order = torch.cat([inside, outside]).double().sort()
    foreign = (order >= len(inside)).double()
    ends = torch.cat([scores[1:] > scores[:-1], scores.new_ones(1).bool()]).nonzero().flatten()
    total = ends + 1.0
    left = torch.stack([total - foreign.cumsum(0)[ends], foreign.cumsum(0)[ends]])
    right = left[:, -1:] - left
    if len(ends) == 1:
        return Stump(float(scores[0]), *(bool(left[1, 0] > left[0, 0]),) * 2)
    # the impurity of both sides, up to its sign and a constant; the last end leaves no right side
    purity = (left.square().sum(0) / total)[:-1]
    purity = purity + right.square().sum(0)[:-1] / (len(scores) - total[:-1])
    best = int(purity.argmax())
    lower, upper = scores[ends[best]], scores[ends[best] + 1]
    middle = lower + (upper - lower) / 2
    usable = bool(middle.isfinite()) and bool(middle < upper)
    return Stump(
        float(middle if usable else lower),
        bool(left[1, best] > left[0, best]),
        bool(right[1, best] > right[0, best]),
    )


def stump_accuracy(
    train_inside: Tensor, train_outside: Tensor, test_inside: Tensor, test_outside: Tensor
) -> Tensor:
    """Accuracy on test points of a stump that was fitted on training points.

    What papers on injective flows report (Caterini et al. 2021). Unlike `auroc` it needs training
    points that are foreign, and depends on how many there are of each kind.

    Args:
        train_inside: scores of training data, (n,).
        train_outside: scores of foreign training points, (m,).
        test_inside: scores of test data.
        test_outside: scores of foreign test points.

    Returns:
        The fraction of all test points that is called right, a scalar.

    Raises:
        DataError: a set is empty or holds NaN.
    """
    check_scores(test_inside, test_outside)
    stump = fit_stump(train_inside, train_outside)
    right = torch.cat([~stump(test_inside), stump(test_outside)])
    return right.to(torch.get_default_dtype()).mean()


class StumpAccuracy(Metric):
    """`stump_accuracy` over batches.

    Args:
        kwargs: options of `torchmetrics.Metric`.
    """

    is_differentiable = False
    higher_is_better = True
    full_state_update = False

    train_inside: list[Tensor]
    train_outside: list[Tensor]
    test_inside: list[Tensor]
    test_outside: list[Tensor]

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        for split in ("train", "test"):
            for side in ("inside", "outside"):
                self.add_state(f"{split}_{side}", default=[], dist_reduce_fx="cat")

    def update(self, scores: Tensor, *, foreign: bool, train: bool) -> None:
        """Take scores, (batch,), of data or foreign points, to fit on or to test on."""
        side = f"{'train' if train else 'test'}_{'outside' if foreign else 'inside'}"
        getattr(self, side).append(scores.detach())

    def compute(self) -> Tensor:
        """The accuracy over all test scores so far, a scalar."""
        return stump_accuracy(
            joined(self.train_inside),
            joined(self.train_outside),
            joined(self.test_inside),
            joined(self.test_outside),
        )
