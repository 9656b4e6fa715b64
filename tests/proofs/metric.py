"""What every metric is held to: a class that gathers batches, and a function of all points."""

import copy
import pickle
from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torchmetrics import Metric

from lightning_flows.core.errors import FlowError
from proofs.common import Proofs, near, same

PROOFS = Proofs()


class MetricCase(NamedTuple):
    """A metric and what it is to be.

    Args:
        build: the metric.
        update: gives it a batch of points x, (batch, 3), and as many foreign or real ones y.
        function: the same figure by the function of the library, given all points.
        formula: the same without the library, or None where other tests have it.
        error: options of its standard error, or None where it has none.
    """

    build: Callable[[], Any]
    update: Callable[[Any, Tensor, Tensor], None]
    function: Callable[[Tensor, Tensor], Tensor]
    formula: Callable[[Tensor, Tensor], Any] | None = None
    error: dict[str, int] | None = None


def data() -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(0)
    x, y = torch.randn(2, 60, 3, generator=generator)
    return x, 2 * y + 1


def found(case: MetricCase, x: Tensor, y: Tensor, *sizes: int) -> Metric:
    """The metric of points that come in batches of these sizes."""
    metric: Metric = case.build()
    for parts in zip(x.split(sizes), y.split(sizes), strict=True):
        case.update(metric, *parts)
    return metric


@PROOFS.add()
def batches_give_what_the_function_does(case: MetricCase) -> None:
    x, y = data()
    expected = case.function(x, y).double()
    assert expected.isfinite()
    for sizes in ((60,), (1, 20, 39), (7,) * 8 + (4,)):
        near(found(case, x, y, *sizes).compute().double(), expected, 1e-5)


@PROOFS.add()
def batches_of_no_rows_change_nothing(case: MetricCase) -> None:
    x, y = data()
    near(
        found(case, x, y, 0, 20, 0, 40, 0).compute().double(),
        found(case, x, y, 20, 40).compute().double(),
        1e-12,
    )
    try:
        none = found(case, x[:0], y[:0], 0, 0).compute()
    except FlowError:  # a distance of sets, or a score that has to tell two kinds apart
        return
    assert none.isnan()


@PROOFS.add(when=lambda case: case.formula is not None)
def is_the_formula(case: MetricCase) -> None:
    assert case.formula is not None
    for scale in (1.0, 5.0, 30.0):
        for dtype, tolerance in ((torch.float32, 1e-4), (torch.float64, 1e-6)):
            x, y = (scale * z.to(dtype) for z in data())
            value = torch.as_tensor(case.formula(x.double(), y.double())).double()
            near(found(case, x, y, 25, 35).compute().double(), value, tolerance)


@PROOFS.add()
def starts_anew_after_a_reset(case: MetricCase) -> None:
    x, y = data()
    metric = found(case, 3 * x - 1, y, 60)
    before = metric.compute()
    metric.reset()
    case.update(metric, x, y)
    value = metric.compute()
    same(value, found(case, x, y, 60).compute())
    assert not torch.equal(before, value), "the figure does not depend on the points"


@PROOFS.add()
def copies_and_pickles_with_its_state(case: MetricCase) -> None:
    x, y = data()
    metric = found(case, x, y, 20, 40)
    for again in (copy.deepcopy(metric), pickle.loads(pickle.dumps(metric))):
        same(again.compute(), metric.compute())
