"""Draws around data, of known density: where an integral over data space is looked for."""

import math

import torch
from torch import Tensor
from torch.distributions import StudentT

from lightning_flows.core.errors import DataError, ShapeError
from lightning_flows.metrics.samples import as_features

__all__ = ["draws_around"]

DEGREES = 3.0  # of Student's t: tails that are wider than those of a normal
WIDEN = 1.5  # scale of the broad part, in standard deviations of the data
KERNELS = 64  # of each floor
FLOORS = (1e-6, 1e-4, 1e-2, 1.0)  # least variance, relative to the largest


def draws_around(data: Tensor, n: int, *, seed: int = 0) -> tuple[Tensor, Tensor]:
    """Draws from a mixture of distributions around data, and their log-density.

    Half of them come from products of Student t distributions with 3 degrees of freedom along the
    principal axes of the data, 1.5 standard deviations wide, and half from normal kernels at points
    of the data, whose covariance is that of the data times Scott's factor squared (Scott 1992).
    Each half is a mixture over four floors that no variance goes below: 1e-6, 1e-4, 1e-2 and 1
    times the largest one, so that mass beside data of few dimensions is found as well.

    Args:
        data: points, (m, *event), real numbers, with more points than entries.
        n: number of draws.
        seed: starting point of the draws; the global random state is not touched.

    Returns:
        Draws (n, *event) in the type and on the device of the data, and their log-density (n,),
        nats, in double precision.

    Raises:
        ShapeError: there are no more points than entries.
        DataError: the data are integers, not finite, or all the same.
    """
    if not data.is_floating_point():
        raise DataError(
            f"data are of type {data.dtype}; a mass is an integral over real numbers: give data "
            "as real numbers."
        )
    flat = as_features(data)
    size = flat.shape[1]
    if len(flat) <= size:
        raise ShapeError(
            f"data have {len(flat)} points of {size} entries; more points than entries are needed."
        )
    center = flat.mean(0)
    centered = flat - center
    scale = centered.abs().max()  # in units of which no square underflows
    if not 0 < float(scale) < math.inf:
        raise DataError("data are not finite, or all points are the same; there is no scale.")
    values, axes = torch.linalg.eigh((centered / scale).mT.cov().reshape(size, size))
    floors = values.max() * torch.tensor(FLOORS, dtype=flat.dtype, device=flat.device)
    lengths = torch.maximum(values, floors[:, None]).sqrt() * scale  # (floors, size)
    stride = max(1, len(flat) // (KERNELS * len(FLOORS)))
    kernels = [(centered @ axes)[i * stride :: len(FLOORS) * stride] for i in range(len(FLOORS))]
    width = len(flat) ** (-1 / (size + 4))

    generator = torch.Generator().manual_seed(seed)

    def normal(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=generator, dtype=flat.dtype)

    squares = normal(int(DEGREES), n, size).square().sum(0)
    broad = WIDEN * normal(n, size) * (DEGREES / squares).sqrt()
    narrow = width * normal(n, size)
    kind = torch.randint(2 * len(FLOORS), (n,), generator=generator).to(flat.device)
    which = torch.rand(n, generator=generator, dtype=flat.dtype).to(flat.device)
    steps = torch.where(kind[:, None] % 2 == 0, broad.to(flat.device), narrow.to(flat.device))
    steps = steps * lengths[kind // 2]
    for i, points in enumerate(kernels):
        chosen = kind == 2 * i + 1
        steps[chosen] += points[(which[chosen] * len(points)).long()]
    draws = (center + steps @ axes.mT).to(data)
    # of the draws as they are in the precision of the data
    return draws.reshape(n, *data.shape[1:]), _log_density(
        (as_features(draws) - center) @ axes, lengths, kernels, width
    )


def _log_density(steps: Tensor, lengths: Tensor, kernels: list[Tensor], width: float) -> Tensor:
    """Of steps from the center along the axes, (n, size): (n,)."""
    parts = []
    for floor, points in zip(lengths, kernels, strict=True):
        log_volume = floor.log().sum()
        broad = StudentT(DEGREES, scale=WIDEN).log_prob(steps / floor).sum(1)
        squares = torch.cdist(steps / floor / width, points / floor / width).square()
        constant = math.log(len(points)) + len(floor) * math.log(width * math.sqrt(2 * math.pi))
        parts += [broad - log_volume, (-0.5 * squares).logsumexp(1) - constant - log_volume]
    return torch.stack(parts).logsumexp(0) - math.log(len(parts))
