"""Telling data from foreign points by a score, against scikit-learn."""

import pytest
import torch
from sklearn.metrics import roc_auc_score
from sklearn.tree import DecisionTreeClassifier
from torch import Tensor

from lightning_flows.core.errors import DataError
from lightning_flows.metrics import (
    OutOfDistributionAUROC,
    StumpAccuracy,
    auroc,
    fit_stump,
    stump_accuracy,
)


def draw(seed: int, n: int, *, shift: float = 0.0, digits: int | None = None) -> Tensor:
    scores = shift + torch.randn(n, generator=torch.Generator().manual_seed(seed))
    return scores if digits is None else scores.round(decimals=digits)


@pytest.mark.parametrize("digits", [None, 0])
@pytest.mark.parametrize("factor", [1.0, 1e6, -1e-3])
def test_auroc_of_scores_of_any_size_and_with_ties(digits: int | None, factor: float) -> None:
    inside, outside = draw(0, 80, digits=digits), draw(1, 50, shift=1.0, digits=digits)
    inside, outside = factor * inside - 4000, factor * outside - 4000
    labels = torch.arange(130) >= 80
    expected = roc_auc_score(labels, torch.cat([inside, outside]))
    assert float(auroc(inside, outside)) == pytest.approx(expected, abs=1e-6)
    metric = OutOfDistributionAUROC()
    for part in inside.split(30):
        metric.update(part, foreign=False)
    metric.update(outside, foreign=True)
    assert float(metric.compute()) == pytest.approx(expected, abs=1e-6)


def test_infinite_scores_are_the_most_extreme() -> None:
    inf = torch.inf
    inside, outside = torch.tensor([-inf, 0.0, 1.0]), torch.tensor([inf, 0.5])
    assert float(auroc(inside, outside)) == pytest.approx(5 / 6)
    assert fit_stump(torch.tensor([0.0, 1.0]), torch.tensor([inf, inf])).threshold == 1
    assert stump_accuracy(inside[:2], outside[:1], inside[:2], outside[:1]) == 1


@pytest.mark.parametrize("digits", [None, 1, 0])
@pytest.mark.parametrize("seed", range(8))
def test_the_stump_is_the_tree_of_depth_one(seed: int, digits: int | None) -> None:
    n, m = [(60, 60), (20, 90), (90, 20), (1, 5)][seed % 4]
    sets = [
        draw(seed, n, digits=digits),
        draw(seed + 100, m, shift=0.7 * seed - 2.5, digits=digits),
        draw(seed + 200, 40, digits=digits),
        draw(seed + 300, 30, shift=0.7 * seed - 2.5, digits=digits),
    ]
    labels = torch.arange(n + m) >= n
    tree = DecisionTreeClassifier(max_depth=1, random_state=0)
    tree.fit(torch.cat(sets[:2])[:, None].numpy(), labels.numpy())
    test = torch.cat(sets[2:])
    called = torch.as_tensor(tree.predict(test[:, None].numpy()))
    stump = fit_stump(*sets[:2])
    if tree.tree_.node_count == 3:  # else the tree has not split, and calls all points the same
        assert stump.threshold == pytest.approx(float(tree.tree_.threshold[0]), abs=1e-6)
    assert torch.equal(stump(test), called)
    expected = (called == (torch.arange(70) >= 40)).float().mean()
    assert float(stump_accuracy(*sets)) == pytest.approx(float(expected))
    metric = StumpAccuracy()
    for index, scores in enumerate(sets):
        for part in scores.split(7):
            metric.update(part, foreign=index % 2 == 1, train=index < 2)
    assert float(metric.compute()) == pytest.approx(float(expected))


def test_scores_that_are_all_equal_are_called_what_most_are() -> None:
    one = torch.ones(3)
    assert stump_accuracy(one[:1], one, one, one[:1]) == 0.25
    assert stump_accuracy(one, one[:1], one, one[:1]) == 0.75


def test_a_stump_cuts_between_neighboring_numbers() -> None:
    low = torch.tensor([1.0], dtype=torch.float64)
    high = low.nextafter(torch.tensor([2.0], dtype=torch.float64))
    assert stump_accuracy(low, high, low, high) == 1
    assert stump_accuracy(high, low, high, low) == 1


def test_scores_without_an_order_are_refused() -> None:
    with pytest.raises(DataError, match="1 of 2 scores are NaN"):
        auroc(torch.zeros(3), torch.tensor([0.0, torch.nan]))
    with pytest.raises(DataError, match="empty"):
        fit_stump(torch.zeros(3), torch.zeros(0))
