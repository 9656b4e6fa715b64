"""What the proofs share: building with random parameters, drawing inputs, finding tensors.

A suite is a dictionary `"name (variant)" -> constructor` and a list of proofs; `pairs` crosses
them, leaving out the proofs that do not apply to a case.
"""

import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from lightning_flows.core.hypersurfaces import LpSphere, log_norm
from lightning_flows.core.support import (
    REAL,
    Circles,
    Columns,
    Interval,
    Levels,
    Simplex,
    Sorted,
    Sphere,
    Support,
    Torus,
)

Build = Callable[[], Any]


@dataclass(frozen=True)
class Proof:
    """A property that holds for every case `applies` accepts."""

    run: Callable[[Any], None]
    applies: Callable[[Any], bool]
    slow: bool = False


class Proofs(list[Proof]):
    """A list that functions join by the decorator `@proofs.add()` or `@proofs.add(when=...)`."""

    def add(
        self, when: Callable[[Any], bool] = lambda _: True, *, slow: bool = False
    ) -> Callable[[Callable[[Any], None]], Callable[[Any], None]]:
        def register(function: Callable[[Any], None]) -> Callable[[Any], None]:
            self.append(Proof(function, when, slow))
            return function

        return register


def pairs(cases: Mapping[str, Any], proofs: list[Proof]) -> list[Any]:
    """Every case with every proof that applies to it, as arguments of pytest's parametrize.

    A case is a constructor, of whose module `applies` judges, or a tuple that says more. A slow
    proof is among the quick tests for the first variant of each name alone.
    """
    found, seen = [], set()
    for name, build in cases.items():
        kind = name.partition(" (")[0]
        module = build() if callable(build) else build
        for proof in proofs:
            if proof.applies(module):
                later = proof.slow and (kind, proof.run) in seen
                seen.add((kind, proof.run))
                marks = [pytest.mark.slow] if later else []
                name_of_both = f"{name}-{proof.run.__name__}"
                found.append(pytest.param(proof.run, build, id=name_of_both, marks=marks))
    return found


def make(
    build: Build, dtype: torch.dtype = torch.float64, seed: int = 0, strength: float = 0.4
) -> Any:
    """Build a module with random parameters: an identity initialization would hide mistakes.

    Log-scales that are parameters themselves get noise of at most 5: single precision has numbers
    from exp(-87) to exp(88), and three standard deviations of 30 go beyond.
    """
    torch.manual_seed(seed)
    module = build().to(dtype)
    generator = torch.Generator().manual_seed(seed + 1)
    with torch.no_grad():
        for name, parameter in module.named_parameters():
            fan_in = parameter[0].numel() if parameter.ndim > 1 else 1
            noise = torch.randn(parameter.shape, generator=generator, dtype=torch.float64)
            most = 5.0 if name.rpartition(".")[2].startswith("log_") else math.inf
            parameter += (min(strength, most) / math.sqrt(fan_in) * noise).to(dtype)
    return module


def draw(
    support: Support | None,
    shape: tuple[int, ...],
    dtype: torch.dtype = torch.float64,
    seed: int = 0,
    *,
    scale: float = 1.0,
) -> Tensor:
    """Random values of a support: normal, uniform, exponential or integer, zeros at an atom.

    A larger `scale` draws larger numbers, and in an interval more numbers close to its ends.
    """
    support = support or REAL
    if isinstance(support, Columns):
        one = (shape[0], 1, *shape[2:])
        columns = enumerate(support.sets)
        return torch.cat([draw(s, one, dtype, seed + i, scale=scale) for i, s in columns], 1)
    generator = torch.Generator().manual_seed(seed + 100)
    if isinstance(support, Levels):
        low, high = int(max(support.low, -50)), int(min(support.high, 1000))
        return torch.randint(low, high, shape, generator=generator).to(dtype)
    unit = torch.rand(shape, generator=generator, dtype=torch.float64)
    normal = torch.randn(shape, generator=generator, dtype=torch.float64)
    if isinstance(support, Sphere | LpSphere):
        normal = normal.abs() if support.positive else normal
        p, level = (2.0, 1.0) if isinstance(support, Sphere) else (support.p, support.level or 1.0)
        return (level * normal / log_norm(normal, p).exp()[:, None]).to(dtype)
    if isinstance(support, Circles):
        pairs = normal.unflatten(1, (-1, 2))
        return (pairs / pairs.norm(dim=2, keepdim=True)).flatten(1).to(dtype)
    if isinstance(support, Simplex):
        return (scale * normal).softmax(1).clamp(min=torch.finfo(torch.float32).tiny).to(dtype)
    if isinstance(support, Torus):
        return (math.pi * torch.tanh(scale * normal)).to(dtype)
    if isinstance(support, Sorted):
        return (1.5 * scale * normal).sort(1).values.to(dtype)
    assert isinstance(support, Interval)
    if math.isfinite(support.low) and math.isfinite(support.high):
        far = torch.sigmoid(scale * torch.logit(unit)) if scale > 1 else 0.02 + 0.96 * unit
        far = far.clamp(min=torch.finfo(torch.float32).tiny)
        values = support.low + (support.high - support.low) * far
    elif math.isfinite(support.low):
        values = support.low - scale * torch.log(unit)
    else:
        values = 1.5 * scale * normal
    if support.atom:
        values = values.where(torch.rand(shape, generator=generator) < 0.5, support.low)
    return values.to(dtype)


def draw_context(
    module: Any, n: int, dtype: torch.dtype = torch.float64, seed: int = 0
) -> Tensor | None:
    """A batch of contexts, or None for an unconditional module."""
    if module.context_shape is None:
        return None
    return draw(REAL, (n, *module.context_shape), dtype, seed + 7)


def tensors(module: nn.Module) -> dict[str, Tensor]:
    """Parameters and buffers, also those that no state dict stores."""
    return dict([*module.named_parameters(), *module.named_buffers()])


def attributes(module: nn.Module) -> Iterator[tuple[str, Tensor]]:
    """Every tensor that can be reached from a module's attributes, registered or not."""
    seen: set[int] = set()

    def walk(name: str, value: Any) -> Iterator[tuple[str, Tensor]]:
        if id(value) in seen:
            return
        seen.add(id(value))
        if isinstance(value, Tensor):
            yield name, value
        elif isinstance(value, dict):
            for key, item in value.items():
                yield from walk(f"{name}.{key}", item)
        elif isinstance(value, list | tuple | set):
            for index, item in enumerate(value):
                yield from walk(f"{name}[{index}]", item)
        elif isinstance(value, nn.Module) or (hasattr(value, "__dict__") and not callable(value)):
            yield from walk(name, vars(value))

    yield from walk(type(module).__name__, module)


def same(actual: Any, expected: Any) -> None:
    """Bit for bit equal."""
    torch.testing.assert_close(actual, expected, rtol=0, atol=0, equal_nan=True)


def near(actual: Any, expected: Any, tolerance: float = 1e-8) -> None:
    """Equal up to a tolerance that is both relative and absolute."""
    torch.testing.assert_close(actual, expected, rtol=tolerance, atol=tolerance)


def check_gradients(module: nn.Module, loss: Callable[[], Tensor], *, smooth: bool = True) -> None:
    """Every parameter gets a finite gradient, and it is the slope of the loss.

    A gradient may be zero only where the loss does not depend on the parameter. `smooth` is false
    where derivatives are not meant to be slopes (rounding).
    """
    module.zero_grad()
    value = loss()
    if value.requires_grad:
        value.backward()
    parameters = dict(module.named_parameters())
    for name, parameter in parameters.items():
        assert parameter.grad is not None, f"no gradient for {name}"
        assert parameter.grad.isfinite().all(), f"{name} has gradient {parameter.grad}"
        if not parameter.grad.any():  # a masked layer that sees nothing
            with torch.no_grad():
                before = parameter.clone()
                parameter += 0.1
                assert torch.equal(loss(), value), f"the gradient of {name} is wrongly zero"
                parameter.copy_(before)
    if parameters and smooth:
        _check_slope(list(parameters.values()), loss)


@torch.no_grad()
def _check_slope(parameters: list[nn.Parameter], loss: Callable[[], Tensor]) -> None:
    step = 1e-6
    generator = torch.Generator().manual_seed(9)
    moves = [torch.randn(p.shape, generator=generator, dtype=p.dtype) for p in parameters]
    before = [p.clone() for p in parameters]
    ends = []
    for sign in (1, -1):
        for parameter, start, move in zip(parameters, before, moves, strict=True):
            parameter.copy_(start + sign * step * move)
        ends.append(loss())
    for parameter, start in zip(parameters, before, strict=True):
        parameter.copy_(start)
    slope = sum((p.grad * m).sum() for p, m in zip(parameters, moves, strict=True))  # type: ignore[operator, misc]
    near((ends[0] - ends[1]) / (2 * step), slope, 1e-4)
