"""Which points lie in a set, and what becomes of those that do not."""

import pytest
import torch

from lightning_flows.bases import Density
from lightning_flows.core.errors import ShapeError
from lightning_flows.core.hypersurfaces import LpSphere
from lightning_flows.core.outside import log_prob_inside
from lightning_flows.core.support import (
    POSITIVE,
    REAL,
    RECTIFIED,
    SORTED,
    UNIT,
    Circles,
    Columns,
    Interval,
    Levels,
    Simplex,
    Sphere,
    Torus,
    by_columns,
)
from proofs.common import draw
from proofs.supports import rows_outside

UNITS = Columns((UNIT, UNIT))
BALL = Interval(-1.0, 1.0)
BELOW = Interval(high=-3.0)
DIGITS = Levels(0, 10)
SETS = {
    "unit": UNIT,
    "ball": BALL,
    "slack": Interval(0.0, 1.0, slack=0.1),
    "far": Interval(5.0, 5.5),
    "below": BELOW,
    "positive": POSITIVE,
    "rectified": RECTIFIED,
    "sorted": SORTED,
    "digits": DIGITS,
    "columns": by_columns([REAL, DIGITS, POSITIVE]),
    "whole": Levels(),
}
ON_VECTORS = {
    "sphere": Sphere(2),
    "simplex": Simplex(2),
    "positive": Sphere(2, positive=True),
    "cusps": LpSphere(2, 0.6, 3.0),
    "shares": LpSphere(2, 1.0, positive=True),
    "circles": Circles(2),
    "torus": Torus(3),
    "parts": Columns((UNIT, SORTED, Levels(0, 4))),
}


CASES = [(SETS[name], shape) for name in SETS for shape in ((3,), (3, 2))]
CASES += [(s, (4,) if isinstance(s, Circles) else (3,)) for s in ON_VECTORS.values()]


@pytest.mark.parametrize(("support", "shape"), CASES, ids=str)
def test_what_a_set_contains(support, shape):
    support.check(shape)
    inside = (
        draw(support, (4, *shape)) if support is not BELOW else -3 - draw(POSITIVE, (4, *shape))
    )
    assert support.contains(inside).tolist() == [True] * 4
    assert support.contains(support.point(inside)).all()
    if support is not BELOW:
        assert not support.contains(rows_outside(support, inside)).any()
    single = inside.float() if not isinstance(support, Levels | Columns) else inside
    assert support.contains(single).all()  # rounded
    missing = inside.clone()
    missing[1].flatten()[-1] = torch.nan
    assert support.contains(missing).tolist() == [True, False, True, True]


def test_bytes_lie_in_sets_whose_end_they_do_not_reach():
    x = torch.tensor([[0, 255], [3, 128]], dtype=torch.uint8)
    assert Levels(0, 256).contains(x).tolist() == [True, True]
    assert Levels(0, 255).contains(x).tolist() == [False, True]
    assert by_columns([DIGITS, Levels(0, 256)]).contains(x).tolist() == [True] * 2


@pytest.mark.parametrize(
    ("support", "row", "expected"),
    [
        (UNIT, [0.0, 1.0], True),
        (UNIT, [0.5, 1.0000001], False),
        (Interval(0.0, 1.0, slack=0.1), [-0.1, 1.1], True),
        (Interval(0.0, 1.0, slack=0.1), [-0.1, 1.11], False),
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


@pytest.mark.parametrize(
    ("support", "shape"),
    [(Sphere(2), (2,)), (Simplex(2), (2,)), (Torus(3), (4,)), (Sphere(2), (3, 1)), (UNITS, (3,))],
)
def test_a_density_has_events_of_its_set(support, shape):
    with pytest.raises(ShapeError, match="event_shape is"):
        Density(shape, support=support)


def test_what_densities_refer_to():
    measures = {str(support): support.measure for support in (REAL, RECTIFIED, DIGITS, Sphere(2))}
    assert [*measures.values()] == ["Lebesgue", "mixed", "counting", "Riemannian volume"]
    assert by_columns([DIGITS, Levels(0, 3)]).measure == "counting"
    assert by_columns([DIGITS, UNIT]).measure == "mixed"


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
