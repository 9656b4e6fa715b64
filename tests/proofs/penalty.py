"""What every penalty is held to."""

import tempfile
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor

from lightning_flows.core.recipe import build_part, to_recipe
from lightning_flows.objectives import Embedded, ExactVolume, NoVolume, Penalty
from proofs.common import Proofs, near
from proofs.embedding import (
    MODULES,
    Apart,
    brute,
    check_average,
    fitted,
    gradient,
    points,
)

PROOFS = Proofs()
SCALES = (1.0, 5.0, 30.0)


class PenaltyCase(NamedTuple):
    """A penalty and what it is to be.

    Args:
        penalty: a part.
        value: what it is, or is on average, given the Jacobians of encoder, (batch, d, D), and
            decoder, (batch, D, d).
        fails: where it is not finite: names of `WOUNDS` in tests/objectives/test_failures.py.
    """

    penalty: Penalty
    value: Callable[[Tensor, Tensor], Tensor]
    fails: tuple[str, ...] = ("cusp of the decoder",)


def exact(case: PenaltyCase) -> bool:
    """Whether it takes no random numbers."""
    pair, x = Apart(), points()
    torch.manual_seed(1)
    first = apply(case, pair, x)
    torch.manual_seed(2)
    return torch.equal(first, apply(case, pair, x))


def random(case: PenaltyCase) -> bool:
    return not exact(case)


def apply(case: PenaltyCase, pair: Apart, x: Tensor, way: Embedded | None = None) -> Tensor:
    way = NoVolume()(pair.encode, pair.decode, x) if way is None else way
    return case.penalty(pair.encode, pair.decode, x, way)


def reference(case: PenaltyCase, pair: Apart, x: Tensor) -> Tensor:
    return case.value(brute(pair.encode, x), brute(pair.decode, pair.encode(x)))


@PROOFS.add(when=exact)
def value_and_gradient_are_autograds(case: PenaltyCase) -> None:
    for scale in SCALES:
        pair, x = Apart(scale), points()
        found, expected = apply(case, pair, x), reference(case, pair, x)
        near(found, expected, 1e-7)
        slope = gradient(expected.sum(), pair)
        near(gradient(found.sum(), pair) / slope.abs().max(), slope / slope.abs().max(), 1e-7)
        single = apply(case, pair.float(), x.float())
        assert single.dtype == torch.float32
        near(single.double(), expected, 1e-3)


@PROOFS.add(when=random)
def value_and_gradient_are_autograds_on_average(case: PenaltyCase) -> None:
    torch.manual_seed(3)
    pair, x, draws = Apart(), points(), 40
    expected = reference(case, pair, x)
    copies = x.repeat_interleave(100, 0)
    values, slopes = [], []
    for _ in range(draws):
        found = apply(case, pair, copies).view(len(x), -1).mean(1)
        values.append(found.detach())
        slopes.append(gradient(found.sum(), pair))
    check_average(torch.stack(values), expected.detach())
    check_average(torch.stack(slopes), gradient(expected.sum(), pair))


@PROOFS.add()
def one_number_for_each_sample(case: PenaltyCase) -> None:
    pair, x = Apart(), points()
    for n in (1, len(x)):
        value = apply(case, pair, x[:n])
        assert value.shape == (n,)
        assert (value >= 0).all()
    if exact(case):
        near(apply(case, pair, x[:1]), apply(case, pair, x)[:1], 1e-10)


@PROOFS.add()
def no_rows_have_no_penalty(case: PenaltyCase) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch says that nothing has no variance
        assert apply(case, Apart(), points()[:0]).shape == (0,)


@PROOFS.add()
def a_jacobian_that_was_built_changes_nothing(case: PenaltyCase) -> None:
    pair, x = Apart(), points()
    found = []
    for built in (True, False):
        way = (ExactVolume() if built else NoVolume())(pair.encode, pair.decode, x)
        assert (way.jacobian is not None) == built
        torch.manual_seed(4)
        value = apply(case, pair, x, way)
        found.append((value, gradient(value.sum(), pair)))
    near(*found, 1e-9)


@PROOFS.add()
def comes_back_from_its_recipe(case: PenaltyCase) -> None:
    again = build_part(to_recipe(case.penalty), Penalty)
    assert type(again) is type(case.penalty)
    assert vars(again) == vars(case.penalty)


@PROOFS.add()
def modules_add_and_log_it(case: PenaltyCase) -> None:
    x = torch.randn(6, 4, dtype=torch.float64)
    name = f"penalty/{case.penalty.name}"
    for make in MODULES.values():
        torch.manual_seed(5)
        plain = make().double().eval()
        model = make(penalties=[case.penalty]).double().eval()
        with torch.no_grad():
            for parameter in plain.parameters():
                parameter += 0.3 * torch.randn_like(parameter)
        model.load_state_dict(plain.state_dict())
        losses = []
        for each in (model, plain):  # in evaluation mode noise is a hash of the data
            with each.noise_of(x):
                losses.append(each.training_loss(x, None))
        (loss, parts), (without, others) = losses
        assert set(parts) == {*others, name}
        near(loss, without + case.penalty.weight * parts[name], 1e-8)
        if exact(case):
            flow = model.flow
            down, up = (
                (flow.encode, flow.decode)
                if make is MODULES["density"]
                else (
                    flow.project,
                    flow.embed,
                )
            )
            near(parts[name], case.value(brute(down, x), brute(up, down(x))), 1e-8)
        with tempfile.TemporaryDirectory() as folder:
            logged = fitted(make(penalties=[case.penalty]), Path(folder))
        assert logged[f"train/{name}"] >= 0
