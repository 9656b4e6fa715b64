"""What every strategy for the volume of an injective map is held to."""

import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor

from lightning_flows.core.recipe import build_part, to_recipe
from lightning_flows.objectives import Embedded, Volume
from proofs.common import Proofs, near
from proofs.embedding import (
    MODULES,
    Apart,
    Pair,
    brute,
    check_average,
    fitted,
    gradient,
    points,
)

PROOFS = Proofs()
SCALES = (1.0, 5.0, 30.0)


class VolumeCase(NamedTuple):
    """A strategy and what it descends on.

    Args:
        volume: a part.
        objective: what it descends on, given the Jacobian of the decoder, (batch, D, d).
        pair: encoder and decoder with which it does.
        fails: where it is NaN: names of `WOUNDS` in tests/objectives/test_failures.py.
    """

    volume: Volume
    objective: Callable[[Tensor], Tensor]
    pair: Callable[[], Pair] = Apart
    fails: tuple[str, ...] = ("cusp of the decoder", "dead column")


def apply(case: VolumeCase, pair: Pair, x: Tensor) -> Embedded:
    return case.volume(pair.encode, pair.decode, x)


def slope(case: VolumeCase, pair: Pair, x: Tensor) -> Tensor:
    return gradient(apply(case, pair, x).log_volume.sum(), pair)


def reference(case: VolumeCase, pair: Pair, x: Tensor) -> Tensor:
    return case.objective(brute(pair.decode, pair.encode(x)))


def exact(case: VolumeCase) -> bool:
    """Whether the gradient takes no random numbers."""
    pair, x = case.pair(), points()
    torch.manual_seed(1)
    first = slope(case, pair, x)
    torch.manual_seed(2)
    return torch.equal(first, slope(case, pair, x))


def random(case: VolumeCase) -> bool:
    return not exact(case)


def measures(case: VolumeCase) -> bool:
    way = apply(case, case.pair(), points())
    return case.volume.measures and way.solution is None  # after iterations the value is zero


@PROOFS.add(when=exact)
def gradient_is_autograds(case: VolumeCase) -> None:
    pair, x = case.pair(), points()
    near(slope(case, pair, x), gradient(reference(case, pair, x).sum(), pair), 1e-8)


@PROOFS.add(when=random)
def gradient_is_autograds_on_average(case: VolumeCase) -> None:
    torch.manual_seed(3)
    pair, x = case.pair(), points()
    copies = x.repeat_interleave(10, 0)
    draws = torch.stack([slope(case, pair, copies) / 10 for _ in range(60)])
    check_average(draws, gradient(reference(case, pair, x).sum(), pair))


@PROOFS.add()
def objective_is_autograds(case: VolumeCase) -> None:
    for scale in SCALES:
        pair, x = Apart(scale), points()
        j = brute(pair.decode, pair.encode(x))
        near(case.volume.objective(j), case.objective(j), 1e-6)
        near(case.volume.objective(j.float()).double(), case.objective(j), 1e-3)


@PROOFS.add(when=measures)
def value_is_the_true_volume(case: VolumeCase) -> None:
    for scale in SCALES:
        pair, x = Apart(scale), points()
        expected = reference(case, pair, x).detach()
        for mode in (torch.no_grad, torch.inference_mode, torch.enable_grad):
            with mode():
                found = apply(case, pair, x).log_volume
            near(found.detach(), expected, 1e-6)
        single = apply(case, pair.float(), x.float()).log_volume
        assert single.dtype == torch.float32
        near(single.detach().double(), expected, 1e-3)


@PROOFS.add()
def embeds_as_encoder_and_decoder_do(case: VolumeCase) -> None:
    """With their gradients, also for a batch of one."""
    for n in (1, 5):
        pair, x = case.pair(), points(n)
        way = apply(case, pair, x)
        assert way.log_volume.shape == (n,)
        assert way.log_volume.isfinite().all()
        u, weights = pair.encode(x), torch.rand_like(x)
        x_hat = pair.decode(u)
        near((way.u, way.x_hat), (u, x_hat), 1e-10)
        found, expected = (
            gradient((a * weights).sum() + b.square().sum(), pair)
            for a, b in ((way.x_hat, way.u), (x_hat, u))
        )
        near(found, expected, 1e-10)
        assert slope(case, pair, x).isfinite().all()


@PROOFS.add()
def no_rows_have_no_volume(case: VolumeCase) -> None:
    pair, x = case.pair(), points(1)[:0]
    way = apply(case, pair, x)
    assert way.log_volume.shape == (0,)
    assert way.x_hat.shape == x.shape
    assert case.volume.objective(brute(pair.decode, pair.encode(points(2)))[:0]).shape == (0,)
    assert (slope(case, pair, x) == 0).all()


@PROOFS.add()
def comes_back_from_its_recipe(case: VolumeCase) -> None:
    again = build_part(to_recipe(case.volume), Volume)
    assert type(again) is type(case.volume)
    assert vars(again) == vars(case.volume)


@PROOFS.add()
def a_module_trains_with_it(case: VolumeCase) -> None:
    with tempfile.TemporaryDirectory() as folder:
        logged = fitted(MODULES["injective"](volume=case.volume), Path(folder))
    assert {"train/loss", "val/loss"} <= set(logged)
