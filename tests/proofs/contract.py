"""What every transform promises: shapes, round trips, rows that do not mix, state that moves."""

import copy
import io
import math
import pickle
from typing import Any

import torch
from torch import Tensor

from lightning_flows.core.recipe import build_part, to_recipe
from lightning_flows.core.support import REAL, Interval, Levels, Support
from lightning_flows.transforms.base import Transform
from proofs.common import (
    Build,
    Proofs,
    attributes,
    check_gradients,
    draw,
    draw_context,
    make,
    near,
    same,
    tensors,
)

PROOFS = Proofs()
DIRECTIONS = ("encode", "decode")


def bijective(t: Transform) -> bool:
    return t.kind == "bijection"


def encodes(t: Transform) -> bool:
    """Encoding takes no random numbers."""
    return t.kind in ("bijection", "inference surjection")


def decodes(t: Transform) -> bool:
    """Decoding takes no random numbers."""
    return t.kind in ("bijection", "generative surjection")


def codomain(t: Transform) -> Support | None:
    return t.domain if t.codomain is None else t.codomain


def support_of(t: Transform, direction: str) -> Support | None:
    """Set of the values that `encode` or `decode` accepts."""
    return t.domain if direction == "encode" else codomain(t)


def inputs(
    t: Transform, direction: str, n: int = 4, dtype: torch.dtype = torch.float64, seed: int = 0
) -> Tensor:
    """Values that `encode` or `decode` accepts."""
    shape = t.event_shape if direction == "encode" else t.latent_shape
    return draw(support_of(t, direction), (n, *shape), dtype, seed)


def repeatable(t: Transform, direction: str, *arguments: Any) -> tuple[Tensor, Tensor]:
    """Call with the same random numbers each time."""
    torch.manual_seed(5)
    result: tuple[Tensor, Tensor] = getattr(t, direction)(*arguments)
    return result


@PROOFS.add()
def shapes(build: Build) -> None:
    for dtype in (torch.float32, torch.float64):
        t = make(build, dtype)
        for n in (1, 3):
            context = draw_context(t, n, dtype)
            z, contribution = t.encode(inputs(t, "encode", n, dtype), context)
            assert (z.shape, z.dtype) == ((n, *t.latent_shape), dtype)
            assert (contribution.shape, contribution.dtype) == ((n,), dtype)
            x, contribution = t.decode(inputs(t, "decode", n, dtype), context)
            assert (x.shape, x.dtype) == ((n, *t.event_shape), dtype)
            assert (contribution.shape, contribution.dtype) == ((n,), dtype)


@PROOFS.add()
def rows_do_not_mix(build: Build) -> None:
    t = make(build)
    context = draw_context(t, 4)
    for direction, fixed in (("encode", encodes(t)), ("decode", decodes(t))):
        x = inputs(t, direction)
        if fixed:
            whole = getattr(t, direction)(x, context)
            for i in range(4):
                row = None if context is None else context[i : i + 1]
                single = getattr(t, direction)(x[i : i + 1], row)
                near(single, tuple(part[i : i + 1] for part in whole), 1e-11)


@PROOFS.add()
def leaves_inputs_and_state_alone(build: Build) -> None:
    t = make(build)
    before = {name: tensor.clone() for name, tensor in tensors(t).items()}
    context = draw_context(t, 4)
    for direction in DIRECTIONS:
        x = inputs(t, direction)
        x_before, context_before = x.clone(), None if context is None else context.clone()
        first = repeatable(t, direction, x, context)
        same(x, x_before)
        same(context, context_before)
        same(tensors(t), before)
        same(repeatable(t, direction, x, context), first)
        if encodes(t) and decodes(t):
            same(repeatable(t.eval(), direction, x, context), first)
            t.train()


@PROOFS.add()
def gradients_reach_every_parameter(build: Build) -> None:
    t = make(build)
    context = draw_context(t, 16)
    for direction in DIRECTIONS:
        x = inputs(t, direction, 16)

        def loss(direction: str = direction, x: Tensor = x) -> Tensor:
            y, contribution = repeatable(t, direction, x, context)
            return y.sin().sum() + contribution.sum()

        check_gradients(t, loss, smooth=bijective(t))


@PROOFS.add()
def state_dict_holds_everything(build: Build) -> None:
    t, other = make(build, seed=0), make(build, seed=50)
    stored = io.BytesIO()
    torch.save(t.state_dict(), stored)
    stored.seek(0)
    other.load_state_dict(torch.load(stored, weights_only=True))
    context = draw_context(t, 4)
    for direction in DIRECTIONS:
        x = inputs(t, direction)
        same(repeatable(other, direction, x, context), repeatable(t, direction, x, context))


@PROOFS.add()
def recipe_and_copies_rebuild_it(build: Build) -> None:
    t = make(build)
    rebuilt = build_part(to_recipe(t)).double()
    rebuilt.load_state_dict(t.state_dict())
    context = draw_context(t, 4)
    for other in (rebuilt, copy.deepcopy(t), pickle.loads(pickle.dumps(t))):
        assert other.event_shape == t.event_shape
        for direction in DIRECTIONS:
            x = inputs(t, direction)
            same(repeatable(other, direction, x, context), repeatable(t, direction, x, context))
        assert to_recipe(other) == to_recipe(t)


@PROOFS.add()
def moves_as_a_whole(build: Build) -> None:
    t = make(build).to("meta")
    stray = [name for name, tensor in attributes(t) if tensor.device.type != "meta"]
    assert not stray, f"left behind by .to(device): {stray}"
    context = draw_context(t, 3)
    for direction in DIRECTIONS:
        x = inputs(t, direction, 3).to("meta")
        y, contribution = getattr(t, direction)(x, None if context is None else context.to("meta"))
        assert (y.device.type, contribution.device.type) == ("meta", "meta")


@PROOFS.add(when=lambda t: t.context_shape is not None)
def context_matters(build: Build) -> None:
    t = make(build)
    context = draw_context(t, 4)
    assert context is not None
    other = context.clone()
    other[2] += 0.5
    for direction in DIRECTIONS:
        x = inputs(t, direction)
        first, second = (repeatable(t, direction, x, c) for c in (context, other))
        changed = (first[0] != second[0]).flatten(1).any(1) | (first[1] != second[1])
        assert changed.tolist() == [False, False, True, False]


@PROOFS.add(when=encodes)
def far_inputs_stay_finite(build: Build) -> None:
    for dtype in (torch.float32, torch.float64):
        t = make(build, dtype)
        for direction in DIRECTIONS:
            support = support_of(t, direction) or REAL
            if not isinstance(support, Interval | Levels) or support.high < math.inf:
                continue
            shape = t.event_shape if direction == "encode" else t.latent_shape
            low, high = (-50.0, 50.0)
            if support.low > -math.inf:
                low, high = support.low + 1e-2, support.low + 100.0
            x = draw(Interval(low, high), (32, *shape), dtype)
            x[0], x[1], x[2] = low, high, (low + high) / 2
            x.requires_grad_()
            y, contribution = getattr(t, direction)(x, draw_context(t, 32, dtype))
            assert y.isfinite().all(), direction
            assert contribution.isfinite().all(), direction
            grads = torch.autograd.grad(
                y.sum() + contribution.sum(), [x, *t.parameters()], allow_unused=True
            )
            assert all(g is None or g.isfinite().all() for g in grads), direction
