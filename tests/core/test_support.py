"""Which points lie in a set, and what becomes of those that do not."""

import pytest
import torch

from lightning_flows.core.support import (
    POSITIVE,
    REAL,
    RECTIFIED,
    SORTED,
    UNIT,
    Support,
    by_columns,
    log_prob_inside,
)
from proofs.common import draw
from proofs.supports import rows_outside

BALL = Support(-1.0, 1.0)
BELOW = Support(high=-3.0)
DIGITS = Support(0, 10, discrete=True)
SETS = {
    "unit": UNIT,
    "ball": BALL,
    "slack": Support(0.0, 1.0, slack=0.1),
    "far": Support(5.0, 5.5),
    "below": BELOW,
    "positive": POSITIVE,
    "rectified": RECTIFIED,
    "sorted": SORTED,
    "digits": DIGITS,
    "columns": by_columns([REAL, DIGITS, POSITIVE]),
}


@pytest.mark.parametrize("shape", [(3,), (3, 2)])
@pytest.mark.parametrize("support", SETS.values(), ids=SETS)
def test_what_a_set_contains(support, shape):
    inside = (
        draw(support, (4, *shape)) if support is not BELOW else -3 - draw(POSITIVE, (4, *shape))
    )
    assert support.contains(inside).tolist() == [True] * 4
    assert support.contains(support.point(inside)).all()
    if support is not BELOW:
        assert not support.contains(rows_outside(support, inside)).any()
    missing = inside.clone()
    missing[1].flatten()[-1] = torch.nan
    assert support.contains(missing).tolist() == [True, False, True, True]


def test_bytes_lie_in_sets_whose_end_they_do_not_reach():
    x = torch.tensor([[0, 255], [3, 128]], dtype=torch.uint8)
    assert Support(0, 256, discrete=True).contains(x).tolist() == [True, True]
    assert Support(0, 255, discrete=True).contains(x).tolist() == [False, True]
    assert by_columns([DIGITS, Support(0, 256, discrete=True)]).contains(x).tolist() == [True] * 2


@pytest.mark.parametrize(
    ("support", "row", "expected"),
    [
        (UNIT, [0.0, 1.0], True),
        (UNIT, [0.5, 1.0000001], False),
        (Support(0.0, 1.0, slack=0.1), [-0.1, 1.1], True),
        (Support(0.0, 1.0, slack=0.1), [-0.1, 1.11], False),
        (POSITIVE, [0.0, 1e30], True),
        (POSITIVE, [-1e-30, 1.0], False),
        (SORTED, [1.0, 1.0], True),
        (SORTED, [1.0, 0.999], False),
        (DIGITS, [0.0, 9.0], True),
        (DIGITS, [0.0, 10.0], False),
        (DIGITS, [0.5, 3.0], False),
        (by_columns([UNIT, DIGITS]), [0.5, 3.0], True),
        (by_columns([UNIT, DIGITS]), [3.0, 0.5], False),
    ],
)
def test_ends_belong_to_a_set(support, row, expected):
    x = torch.tensor([row], dtype=torch.float64)
    assert support.contains(x).tolist() == [expected]


@pytest.mark.parametrize("dtype", [torch.uint8, torch.int64, torch.float16])
def test_pixels_of_any_type_are_checked(dtype):
    x = torch.tensor([[0, 9], [3, 10], [255, 1]], dtype=dtype)
    assert DIGITS.contains(x).tolist() == [True, False, False]
    scores = log_prob_inside(DIGITS, x, lambda x: x.sum(1).float())
    assert scores.tolist() == [9.0, -torch.inf, -torch.inf]


def test_rows_outside_do_not_disturb_the_others():
    x = torch.tensor([[0.5], [-2.0], [2.0], [torch.nan]], requires_grad=True)

    def log_prob(x):
        return torch.log(x).sum(1)  # NaN below zero, with a gradient of NaN

    for call in (log_prob_inside, torch.compile(log_prob_inside, fullgraph=True, backend="eager")):
        scores = call(UNIT, x, log_prob)
        assert scores.tolist()[:3] == [pytest.approx(-0.6931, abs=1e-4), -torch.inf, -torch.inf]
        assert scores[3].isnan()
        (gradient,) = torch.autograd.grad(scores[:3].sum(), x)
        assert gradient.flatten().tolist() == [2.0, 0.0, 0.0, 0.0]
    mapped = torch.func.vmap(lambda row: log_prob_inside(UNIT, row[None], log_prob))(x[:3])
    assert mapped[:, 0].tolist() == scores[:3].tolist()
    seen = []
    log_prob_inside(REAL, x, lambda x: seen.append(x) or x)
    assert seen[0] is x  # nothing is looked at, so nothing is paid


def test_what_a_set_is_called():
    names = [str(support) for support in (UNIT, BALL, POSITIVE, REAL, DIGITS, RECTIFIED)]
    assert names == [
        "[0, 1]",
        "[-1, 1]",
        "[0, inf)",
        "(-inf, inf)",
        "integers in [0, 10)",
        "[0, inf) with an atom at 0",
    ]
