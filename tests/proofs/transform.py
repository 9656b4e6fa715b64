"""What every transform is held to."""

import copy
import io
import math
import pickle
from collections.abc import Callable
from functools import partial
from typing import Any

import pytest
import torch
from torch import Tensor

from lightning_flows.bases.base import Density
from lightning_flows.bases.normal import Normal
from lightning_flows.bases.uniform import Uniform
from lightning_flows.flows.base import Flow
from lightning_flows.recipe import build_part, to_recipe
from lightning_flows.shapes import size
from lightning_flows.transforms.base import Support, Transform
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
from proofs.density import Exponential, matches_its_samples

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


def codomain(t: Transform) -> Any:
    return t.domain if t.codomain is None else t.codomain


def inputs(
    t: Transform, direction: str, n: int = 4, dtype: torch.dtype = torch.float64, seed: int = 0
) -> Tensor:
    """Values that `encode` or `decode` accepts."""
    if direction == "encode":
        return draw(t.domain, (n, *t.event_shape), dtype, seed)
    return draw(codomain(t), (n, *t.latent_shape), dtype, seed)


def repeatable(t: Transform, direction: str, *arguments: Any) -> tuple[Tensor, Tensor]:
    """Call with the same random numbers each time."""
    torch.manual_seed(5)
    result: tuple[Tensor, Tensor] = getattr(t, direction)(*arguments)
    return result


def base_on(support: Support | None, shape: tuple[int, ...]) -> Density:
    """A density with this support."""
    low, high = (-math.inf, math.inf) if support is None else (support.low, support.high)
    if math.isfinite(low) and math.isfinite(high):
        return Uniform(shape, low=low, high=high)
    return Normal(shape) if math.isinf(low) else Exponential(shape)


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


@PROOFS.add(when=decodes)
def decodes_what_it_encoded(build: Build) -> None:
    for dtype, tolerance in ((torch.float64, 1e-9), (torch.float32, 1e-3)):
        t = make(build, dtype)
        x, context = inputs(t, "encode", 64, dtype), draw_context(t, 64, dtype)
        z, encoded = t.encode(x, context)
        back, decoded = t.decode(z, context)
        near(back, x, tolerance)
        near(decoded, encoded, tolerance)


@PROOFS.add(when=encodes)
def encodes_what_it_decoded(build: Build) -> None:
    for dtype, tolerance in ((torch.float64, 1e-9), (torch.float32, 1e-3)):
        t = make(build, dtype)
        z, context = inputs(t, "decode", 64, dtype), draw_context(t, 64, dtype)
        x, decoded = t.decode(z, context)
        back, encoded = t.encode(x, context)
        near(back, z, tolerance)
        near(encoded, decoded, tolerance)


@PROOFS.add(when=bijective)
def contribution_is_log_det(build: Build) -> None:
    t = make(build)
    x, context = inputs(t, "encode"), draw_context(t, 4)
    _, contribution = t.encode(x, context)
    for i in range(len(x)):
        row = None if context is None else context[i : i + 1]
        jacobian = torch.autograd.functional.jacobian(
            lambda v, row=row: t.encode(v.view(1, *t.event_shape), row)[0].flatten(),
            x[i].flatten(),
        )
        near(contribution[i], torch.linalg.slogdet(jacobian).logabsdet, 1e-9)


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


@PROOFS.add()
def double_is_more_precise_single(build: Build) -> None:
    single, double = make(build, torch.float32), make(build, torch.float32).double()
    context = draw_context(single, 8, torch.float32)
    for direction, fixed in (("encode", encodes(single)), ("decode", decodes(single))):
        if fixed:
            x = inputs(single, direction, 8, torch.float32)
            wide = None if context is None else context.double()
            expected = getattr(double, direction)(x.double(), wide)
            actual = getattr(single, direction)(x, context)
            near(tuple(part.double() for part in actual), expected, 2e-3)


@PROOFS.add()
def torch_func_goes_through(build: Build) -> None:
    t = make(build)
    context = draw_context(t, 3)
    for direction, fixed in (("encode", encodes(t)), ("decode", decodes(t))):
        x = inputs(t, direction, 3)
        if not fixed or (direction == "encode" and t.domain is not None and t.domain.discrete):
            continue

        def function(v: Tensor, direction: str = direction) -> tuple[Tensor, Tensor]:
            result: tuple[Tensor, Tensor] = getattr(t, direction)(v, context)
            return result

        tangents = draw(None, (2, *x.shape), seed=3)
        value, derivative = torch.func.jvp(function, (x,), (tangents[0],))
        if bijective(t):  # rounding passes derivatives on as if it did nothing
            step = 1e-6 * tangents[0]
            above, below = function(x + step), function(x - step)
            slope = tuple((a - b) / 2e-6 for a, b in zip(above, below, strict=True))
            near(derivative, slope, 1e-5)

        _, pull = torch.func.vjp(function, x)
        cotangent = tuple(draw(None, tuple(v.shape), seed=4) for v in value)
        (pulled,) = pull(cotangent)
        pushed = sum((c * d).sum() for c, d in zip(cotangent, derivative, strict=True))
        near((pulled * tangents[0]).sum(), pushed, 1e-9)

        push = partial(_push, function, x)
        batched = torch.func.vmap(push)(tangents)
        near(tuple(part[0] for part in batched), derivative, 1e-10)
        near(tuple(part[1] for part in batched), push(tangents[1]), 1e-10)


def _push(function: Callable[[Tensor], Any], x: Tensor, tangent: Tensor) -> Any:
    return torch.func.jvp(function, (x,), (tangent,))[1]


@PROOFS.add(when=lambda t: encodes(t) and decodes(t))
def holds_in_mixed_precision(build: Build) -> None:
    """Networks may run in half precision; the map and its contribution stay in single."""
    t = make(build, torch.float32)
    context = draw_context(t, 16, torch.float32)
    for direction, back in (DIRECTIONS, DIRECTIONS[::-1]):
        x = inputs(t, direction, 16, torch.float32)
        exact = getattr(t, direction)(x, context)
        with torch.autocast("cpu", torch.bfloat16):
            y, contribution = getattr(t, direction)(x, context)
            again, _ = getattr(t, back)(y, context)
        assert y.dtype == contribution.dtype == again.dtype == torch.float32
        near((y, contribution), exact, 0.2)
        near(again, x, 0.2)


@PROOFS.add(when=encodes)
def vmap_over_points(build: Build) -> None:
    t = make(build)
    x, context = inputs(t, "encode"), draw_context(t, 4)
    if context is None:
        mapped = torch.func.vmap(lambda v: t.encode(v[None]))(x)
    else:
        mapped = torch.func.vmap(lambda v, c: t.encode(v[None], c[None]))(x, context)
    near(tuple(part[:, 0] for part in mapped), t.encode(x, context), 1e-11)


@PROOFS.add()
def compiles_without_a_break(build: Build) -> None:
    t = make(build)
    x, context = inputs(t, "encode"), draw_context(t, 4)
    z = inputs(t, "decode")

    def both(x: Tensor, z: Tensor, context: Tensor | None) -> Any:
        return *t.encode(x, context), *t.decode(z, context)

    torch.compiler.reset()
    compiled = torch.compile(both, fullgraph=True, backend="eager")
    torch.manual_seed(5)
    expected = both(x, z, context)
    torch.manual_seed(5)
    near(compiled(x, z, context), expected, 1e-10)


@PROOFS.add(when=lambda t: t.context_shape is not None and encodes(t))
def context_matters(build: Build) -> None:
    t = make(build)
    context = draw_context(t, 4)
    assert context is not None
    other = context.clone()
    other[2] += 0.5
    for direction in DIRECTIONS:
        x = inputs(t, direction)
        first, second = getattr(t, direction)(x, context), getattr(t, direction)(x, other)
        changed = (first[0] != second[0]).flatten(1).any(1)
        assert changed.tolist() == [False, False, True, False]


@PROOFS.add(when=encodes)
def far_inputs_stay_finite(build: Build) -> None:
    for dtype in (torch.float32, torch.float64):
        t = make(build, dtype)
        for direction, support in (("encode", t.domain), ("decode", codomain(t))):
            low, high = (-math.inf, math.inf) if support is None else (support.low, support.high)
            if high < math.inf:
                continue
            shape = t.event_shape if direction == "encode" else t.latent_shape
            low, high = (-50.0, 50.0) if low == -math.inf else (low + 1e-2, low + 100.0)
            x = draw((low, high), (32, *shape), dtype)
            x[0], x[1], x[2] = low, high, (low + high) / 2
            x.requires_grad_()
            y, contribution = getattr(t, direction)(x, draw_context(t, 32, dtype))
            assert y.isfinite().all(), direction
            assert contribution.isfinite().all(), direction
            grads = torch.autograd.grad(
                y.sum() + contribution.sum(), [x, *t.parameters()], allow_unused=True
            )
            assert all(g is None or g.isfinite().all() for g in grads), direction


@PROOFS.add(when=lambda t: bijective(t) and size(t.event_shape) <= 2)
def makes_a_density(build: Build) -> None:
    t = make(build)
    matches_its_samples(Flow(t, base_on(codomain(t), t.latent_shape)).double())


@PROOFS.add(when=lambda t: t.domain is not None and t.domain.discrete and states(t) <= 100)
def probabilities_sum_to_one(build: Build) -> None:
    """p(x) is the mean of exp(log p_base(z) + V) over the latents that x encodes to."""
    t = make(build)
    values = torch.arange(int(t.domain.low), int(t.domain.high), dtype=torch.float64)
    x = torch.cartesian_prod(*[values] * size(t.event_shape)).reshape(-1, *t.event_shape)
    torch.manual_seed(2)
    with torch.no_grad():
        z, contribution = t.encode(x.repeat_interleave(2000, 0))
        log_p = base_on(codomain(t), t.latent_shape).double().log_prob(z) + contribution
    assert log_p.exp().sum().item() / 2000 == pytest.approx(1, abs=0.02)


def states(t: Transform) -> float:
    """Number of values that data can take."""
    assert t.domain is not None
    return (t.domain.high - t.domain.low) ** size(t.event_shape)
