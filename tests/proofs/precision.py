"""How precise a transform is, with parameters and values that are small, large and very large.

Single precision is held to double precision with the same parameters, and a round trip in double
precision to where it started. What an error may be depends on the map: results may move as far as
they do when parameters and inputs change in their last digits, times a factor. So nothing is asked
of a map that no formula could give, and what a formula loses by itself is found: a root by the
difference of two large numbers, the closed end of an open interval.
"""

import copy
from collections.abc import Sequence

import torch
from torch import Tensor

from lightning_flows.core.hypersurfaces import LpSphere, log_norm
from lightning_flows.core.support import (
    REAL,
    Columns,
    Interval,
    Simplex,
    Sorted,
    Sphere,
    Support,
    Torus,
)
from lightning_flows.transforms.base import Transform
from lightning_flows.transforms.surjections.dequantize import VariationalDequantize
from proofs.common import Build, Proofs, draw, draw_context, make
from proofs.contract import DIRECTIONS, decodes, encodes, support_of
from proofs.supports import apart

PROOFS = Proofs()
SCALES = (1.0, 5.0, 30.0)
FACTOR = 100
FAR = 1e4  # rows beyond it are not compared: their numbers are too coarse for what comes later
Pair = tuple[Tensor, Tensor]


def within_its_noise(t: Transform) -> bool:
    """Noise keeps a distance from the ends of a cell that depends on the precision."""
    return not any(isinstance(part, VariationalDequantize) for part in t.modules())


@PROOFS.add(when=within_its_noise)
@torch.no_grad()
def as_precise_as_its_numbers(build: Build) -> None:
    for scale in SCALES:
        single = make(build, torch.float32, strength=scale).eval()
        double = copy.deepcopy(single).double()
        for direction, back in (DIRECTIONS, DIRECTIONS[::-1]):
            shape = single.event_shape if direction == "encode" else single.latent_shape
            support = support_of(single, direction)
            x = draw(support, (64, *shape), torch.float32, scale=scale)
            context = draw_context(single, 64, torch.float32)
            wide = None if context is None else context.double()
            if (encodes if direction == "encode" else decodes)(single):
                _single_as_double(single, double, direction, x, context)
            if (decodes if direction == "encode" else encodes)(single):
                y = getattr(single, direction)(x, context)[0]
                near = y.flatten(1).abs().amax(1) < FAR
                assert y.isfinite().all(), f"{direction} at scale {scale}"
                rows = None if context is None else context[near]
                _single_as_double(single, double, back, y[near], rows)
                y, contribution = getattr(double, direction)(x.double(), wide)
                again = getattr(double, back)(y, wide)
                moved = _moved(double, back, y, wide, torch.float64)
                _close(again, (x.double(), contribution), moved, torch.float64, support)


def _single_as_double(
    single: Transform, double: Transform, direction: str, x: Tensor, context: Tensor | None
) -> None:
    actual = getattr(single, direction)(x, context)
    wide = None if context is None else context.double()
    expected = getattr(double, direction)(x.double(), wide)
    moved = _moved(double, direction, x.double(), wide, torch.float32)
    leads = support_of(single, "decode" if direction == "encode" else "encode")
    _close(actual, expected, moved, torch.float32, leads)


def _close(
    actual: Pair,
    expected: Pair,
    moved: Sequence[Pair],
    dtype: torch.dtype,
    support: Support | None,
) -> None:
    """Where double precision has a number that `dtype` can hold, so has what is checked."""
    eps, most = torch.finfo(dtype).eps, torch.finfo(dtype).max / 10
    for i, name in enumerate(("value", "contribution")):
        a, b = actual[i].double(), expected[i]
        lies_in = None if i else support  # contributions are numbers
        allowed = torch.stack([apart(lies_in, other[i], b).abs() for other in moved]).amax(0)
        allowed = FACTOR * (allowed + eps * (1 + b.abs()))
        wrong = ~(apart(lies_in, a, b).abs() <= allowed) & (b.abs() < most) & allowed.isfinite()
        assert not wrong.any(), f"{name}: {a[wrong][:5]} where {b[wrong][:5]} is right"
        assert not a.isnan().any(), name


def _moved(
    t: Transform, direction: str, x: Tensor, context: Tensor | None, dtype: torch.dtype
) -> list[Pair]:
    """Results for parameters and inputs that differ in their last digits, by plus and by minus.

    In two of three draws, inputs from all reals move as numbers of size 1 do, and angles too:
    layers add and subtract numbers of that size.
    """
    eps = 4 * torch.finfo(dtype).eps
    support = support_of(t, direction) or REAL
    moving = Interval | Sorted | Torus | Columns | Sphere | Simplex | LpSphere
    exact = not isinstance(support, moving)
    before = [parameter.clone() for parameter in t.parameters()]
    results = []
    for seed in range(3):
        least = float((support == REAL or isinstance(support, Torus | Columns)) and seed > 0)
        for sign in (1, -1):
            generator = torch.Generator().manual_seed(seed)

            def move(
                v: Tensor,
                least: float = 0.0,
                sign: int = sign,
                generator: torch.Generator = generator,
            ) -> Tensor:
                noise = torch.rand(v.shape, generator=generator, dtype=v.dtype)
                return v + sign * eps * (v.abs() + least) * (2 * noise - 1)

            for parameter, start in zip(t.parameters(), before, strict=True):
                parameter.copy_(move(start))
            given = None if context is None else move(context)
            point = x if exact else _inside(support, move(x, least))
            results.append(getattr(t, direction)(point, given))
    for parameter, start in zip(t.parameters(), before, strict=True):
        parameter.copy_(start)
    return results


def _inside(support: Support, x: Tensor) -> Tensor:
    if isinstance(support, Sphere):
        return x / x.norm(dim=1, keepdim=True)
    if isinstance(support, LpSphere):
        return x * (support.level or 1.0) / log_norm(x, support.p).exp()[:, None]
    if isinstance(support, Simplex):
        return x / x.sum(1, keepdim=True)
    if isinstance(support, Columns):
        columns = zip(support.sets, x.split(1, 1), strict=True)
        return torch.cat([_inside(each, column) for each, column in columns], 1)
    return x.clamp(support.low, support.high) if isinstance(support, Interval) else x
