"""The volume of a star-like hypersurface, and how its cost grows with the number of entries."""

import math
from collections.abc import Iterator
from functools import partial

import torch
from torch import Tensor

from benchmarks.report import Row, speed_row
from benchmarks.timing import Stopwatch, interleave, stopwatch
from lightning_flows.bases import ConeMeasure
from lightning_flows.jacobians import log_volume
from lightning_flows.transforms import LpRadius, StarLike

__all__ = ["growth_of", "hypersurface_rows"]

BATCH = 32
SIZES = (64, 128, 256, 512, 1000, 2000, 4000)
P = 1.5


def hypersurface_rows(*, quick: bool, rounds: int, warmup: int) -> Iterator[Row]:
    """Time points and volumes, beside √det JᵀJ of the whole Jacobian, and at several sizes.

    Args:
        quick: use tiny sizes.
        rounds: rounds that count.
        warmup: rounds before those.
    """
    features = 8 if quick else 1000
    star, z = _star(features)
    single = z[:1]
    with torch.no_grad():
        watches: dict[str, Stopwatch] = {
            "ours": stopwatch(lambda: star.decode(single), 20),
            "Jacobian, QR": stopwatch(lambda: log_volume(lambda v: star.decode(v)[0], single)),
        }
        timing = interleave(watches, rounds=1 if quick else 3, warmup=min(warmup, 1))
        case = f"L_{P} sphere, {features} entries, one point: point and volume"
        yield speed_row(case, timing, "Jacobian, QR", at_most=1 / 100)

        sizes = SIZES[:2] if quick else SIZES
        watches = {}
        for size in sizes:
            star, z = _star(size)
            watches[str(size)] = stopwatch(partial(star.decode, z), 5)
        timing = interleave(watches, rounds=rounds, warmup=warmup)
    growth = growth_of({size: timing.median(str(size)) for size in sizes})
    yield Row(
        f"L_{P} sphere, {sizes[0]} to {sizes[-1]} entries, batch {BATCH}: exponent of the cost",
        f"{growth:.2f}",
        "",
        "",
        "",
        "≤ 1.1",
        growth <= 1.1,
        {"exponent": growth} | {f"seconds_{size}": timing.median(str(size)) for size in sizes},
    )


def growth_of(seconds: dict[int, float]) -> float:
    """Slope of the line through (log size, log seconds) that fits best."""
    x = torch.tensor([math.log(size) for size in seconds])
    y = torch.tensor([math.log(max(value, 1e-9)) for value in seconds.values()])
    return float(((x - x.mean()) * (y - y.mean())).sum() / (x - x.mean()).square().sum())


def _star(features: int) -> tuple[StarLike, Tensor]:
    """A hypersurface and angles of points on it."""
    torch.manual_seed(0)
    star = StarLike(features, partial(LpRadius, p=P))
    return star, star.encode(ConeMeasure(features, p=P).sample(BATCH))[0]
