"""Components of a trained flow from products alone, beside whole Jacobians and their SVD.

The peak memory is that of a process of its own: `python -m benchmarks.components 32 3 8 6` prints
the bytes for images of 32 x 32 pixels in 3 channels, 8 points and 6 components, and at how many
points the tolerance held.
"""

import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from benchmarks.memory import STATUS, resident
from benchmarks.report import Row, speed_row
from benchmarks.timing import Stopwatch, interleave, stopwatch
from lightning_flows.components import components
from lightning_flows.flows import RealNVP
from lightning_flows.jacobians import jacobian

__all__ = ["accuracy", "blobs", "component_rows", "peak", "trained"]

CHUNK = 49  # directions of a whole Jacobian at a time; more outgrow the cache
CHECKED = 16  # points beside an SVD in double precision
SPOTS = 3  # in an image: fifteen factors and more


@dataclass(frozen=True)
class Case:
    """Sizes of what is measured.

    Args:
        side: pixels of an image in each direction; D is its square.
        points: points at which components are compared.
        jacobians: points at which whole Jacobians are.
        looped: of those, how many the slow loop looks at; its time is scaled to all.
        k: number of components.
        layers: of the flow.
        hidden: widths of its conditioners.
        steps: of its training.
    """

    side: int
    points: int
    jacobians: int
    looped: int
    k: int
    layers: int
    hidden: tuple[int, ...]
    steps: int


FULL = Case(28, 64, 64, 2, 6, 8, (128, 128), 300)
QUICK = Case(6, 4, 4, 2, 2, 2, (8,), 5)
COLOR = (32, 3, 8, 6)  # D = 3072
TINY = (4, 1, 2, 2)


def component_rows(*, quick: bool, rounds: int, warmup: int) -> Iterator[Row]:
    """Compare speed and accuracy at D = 784, and measure the memory at D = 3072.

    Args:
        quick: use tiny sizes.
        rounds: rounds that count.
        warmup: rounds before those.
    """
    case = QUICK if quick else FULL
    flow = trained(case.side, 1, layers=case.layers, hidden=case.hidden, steps=case.steps)
    x = blobs(case.jacobians, case.side, 1, torch.Generator().manual_seed(1))
    few, size = x[: case.points], x.shape[1]

    def decomposed() -> object:
        matrix = jacobian(flow.decode, flow.encode(few), chunk_size=CHUNK)
        return torch.linalg.svd(matrix, full_matrices=False)

    def loop() -> None:
        for z in flow.encode(x[: case.looped]):
            torch.autograd.functional.jacobian(lambda z: flow.decode(z[None])[0], z)

    looped = stopwatch(loop)
    factor = case.jacobians / case.looped
    with torch.no_grad():
        timing = interleave(
            {
                "iterative": stopwatch(
                    lambda: components(flow.encode, flow.decode, few, k=case.k, method="iterative")
                ),
                "J and SVD": stopwatch(decomposed),
            },
            rounds=rounds,
            warmup=warmup,
        )
        top = f"components, D={size}, {case.points} points: {case.k} widest"
        yield speed_row(top, timing, "J and SVD", ours="iterative", at_most=1 / 10)
    yield from _accuracy_rows(top, flow, few[:CHECKED], case.k)

    whole: dict[str, Stopwatch] = {
        "ours": stopwatch(lambda: torch.no_grad()(jacobian)(flow.decode, z, chunk_size=CHUNK)),
        "functional.jacobian": lambda: factor * looped(),
    }
    z = flow.encode(x).detach()
    timing = interleave(whole, rounds=rounds, warmup=warmup)
    label = f"Jacobian, D={size}, {case.jacobians} points"
    yield speed_row(label, timing, "functional.jacobian", at_most=1 / 20)
    if STATUS.exists():
        yield _memory_row(*(TINY if quick else COLOR))


def blobs(n: int, side: int, channels: int, generator: torch.Generator) -> Tensor:
    """Smooth images: spots of random places, widths and colors, and noise: (n, channels side²)."""
    place, width, color = (
        torch.rand(n, SPOTS, count, generator=generator) for count in (2, 2, channels)
    )
    grid = torch.linspace(0, 1, side)
    distance = (grid - place[..., None]) / (0.1 + 0.2 * width[..., None])
    x, y = torch.exp(-distance.square()).unbind(2)
    spots = torch.einsum("nsc,nsx,nsy->ncxy", color + 0.5, x, y).flatten(1)
    return spots - 0.5 + 0.1 * torch.randn(spots.shape, generator=generator)


def trained(
    side: int, channels: int, *, layers: int, hidden: tuple[int, ...], steps: int
) -> RealNVP:
    """A flow after some steps of maximum likelihood on such images."""
    torch.manual_seed(0)
    generator = torch.Generator().manual_seed(0)
    flow = RealNVP(channels * side**2, layers=layers, hidden=hidden)
    optimizer = torch.optim.Adam(flow.parameters(), lr=1e-3, fused=True)
    for step in range(steps):
        x = blobs(64, side, channels, generator)
        if step == 0:
            flow.initialize(x)
        optimizer.zero_grad()
        (-flow.log_prob(x).mean()).backward()
        torch.nn.utils.clip_grad_norm_(flow.parameters(), 5.0)
        optimizer.step()
    return flow.eval()


def accuracy(flow: RealNVP, x: Tensor, k: int) -> tuple[float, float, int]:
    """Beside an SVD in double precision, where the tolerance is said to hold.

    Returns:
        The largest principal angle in degrees, the largest relative error of a scale, and the
        number of points.
    """
    with torch.no_grad():
        found = components(flow.encode, flow.decode, x, k=k, method="iterative")
        matrix = jacobian(flow.decode, flow.encode(x), chunk_size=CHUNK).double()
    u, s, _ = torch.linalg.svd(matrix, full_matrices=False)
    axes = found.axes.flatten(2).double()
    outside = axes - axes @ u[:, :, :k] @ u[:, :, :k].mT
    degrees = torch.linalg.matrix_norm(outside, ord=2).asin().rad2deg()
    wrong = (found.scales / s[:, :k] - 1).abs().amax(1)
    ok = found.converged
    if not ok.any():
        return float("nan"), float("nan"), 0
    return float(degrees[ok].max()), float(wrong[ok].max()), int(ok.sum())


def peak(side: int, channels: int, points: int, k: int) -> tuple[int, int]:
    """Peak resident memory of this process in bytes, and at how many points it converged."""
    torch.set_num_threads(1)
    flow = trained(side, channels, layers=8, hidden=(128, 128), steps=40)
    x = blobs(points, side, channels, torch.Generator().manual_seed(1))
    found = components(flow.encode, flow.decode, x, k=k, method="iterative")
    return resident("VmHWM"), int(found.converged.sum())


def _accuracy_rows(name: str, flow: RealNVP, x: Tensor, k: int) -> Iterator[Row]:
    degrees, wrong, count = accuracy(flow, x, k)
    peer, where = "SVD, float64", f"{count} of {len(x)} converged"
    yield Row(
        f"{name}: largest principal angle",
        f"{degrees:.2g}°",
        peer,
        "0°",
        where,
        "≤ 1°",
        degrees <= 1,
        {"degrees": degrees, "converged": count, "points": len(x)},
    )
    yield Row(
        f"{name}: largest error of a scale",
        f"{wrong:.2g}",
        peer,
        "0",
        where,
        "≤ 0.01",
        wrong <= 0.01,
        {"relative_error": wrong, "converged": count, "points": len(x)},
    )


def _memory_row(side: int, channels: int, points: int, k: int) -> Row:
    sizes = (side, channels, points, k)
    command = [sys.executable, "-W", "ignore", "-m", "benchmarks.components", *map(str, sizes)]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    size, count = map(int, done.stdout.split())
    return Row(
        f"components, D={channels * side**2}, {points} points: peak memory with training",
        f"{size / 1e9:.3g} GB",
        "",
        "",
        f"{count} of {points} converged",
        "≤ 2 GB",
        size <= 2e9,
        {"bytes_ours": size, "converged": count, "points": points},
    )


if __name__ == "__main__":
    print(*peak(*map(int, sys.argv[1:])))
