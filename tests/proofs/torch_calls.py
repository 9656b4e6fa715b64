"""What every transform is held to where torch transforms, compiles or rounds it."""

from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from torch import Tensor

from lightning_flows.core.support import Levels
from proofs.common import Build, Proofs, draw, draw_context, make, near
from proofs.contract import DIRECTIONS, bijective, decodes, encodes, inputs, support_of

PROOFS = Proofs()


@PROOFS.add()
def torch_func_goes_through(build: Build) -> None:
    t = make(build)
    context = draw_context(t, 3)
    for direction, fixed in (("encode", encodes(t)), ("decode", decodes(t))):
        support = support_of(t, direction)
        if not fixed or isinstance(support, Levels):
            continue
        x = inputs(t, direction, 3)

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


@PROOFS.add(slow=True)
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
