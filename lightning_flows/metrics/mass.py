"""The integral of what is said to be a density."""

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor
from torch.distributions import StudentT

from lightning_flows.core.errors import ShapeError, check_least

__all__ = ["Mass", "density_mass"]

DEGREES = 3.0  # of the proposal: tails that are wider than those of a normal


class Mass(NamedTuple):
    """An integral found by importance sampling.

    Args:
        value: the integral, 1 for a density.
        standard_error: of the value; it cannot be trusted where `effective` is small.
        effective: number of draws that the weights are worth, (Σw)² / Σw².
    """

    value: float
    standard_error: float
    effective: float


@torch.no_grad()
def density_mass(
    log_density: Callable[[Tensor], Tensor],
    x: Tensor,
    *,
    n: int = 100_000,
    widen: float = 1.5,
    chunk_size: int = 10_000,
    seed: int = 0,
) -> Mass:
    """Mass of exp(log_density) by importance sampling, for a few dimensions.

    A likelihood may be compared with another only where both have the same mass. Draws come from a
    product of Student t distributions with 3 degrees of freedom along the principal axes of
    x, so that mass beside the data is found as well. Thin densities waste most draws: look at
    `effective`, and give more draws or stay below about five dimensions.

        module.eval()
        density_mass(module.ambient_log_prob, x)

    Args:
        log_density: points to nats, (batch, *event) to (batch,).
        x: points of the data, (m, *event), with more points than entries.
        n: number of draws.
        widen: scale of the proposal, in standard deviations of x.
        chunk_size: draws that are scored at a time.
        seed: starting point of the draws; the global random state is not touched.

    Returns:
        The mass with its standard error, which covers the choice of draws.

    Raises:
        ConfigError: fewer than two draws, or none in a chunk.
        ShapeError: there are no more points than entries.
    """
    check_least(2, n=n)
    check_least(1, chunk_size=chunk_size)
    flat = x.detach().flatten(1).double()
    if len(flat) <= flat.shape[1]:
        raise ShapeError(
            f"x has {len(flat)} points of {flat.shape[1]} entries; more points than entries are "
            "needed."
        )
    center = flat.mean(0)
    # principal axes, each as long as its standard deviation; the longest bounds how short one is
    values, vectors = torch.linalg.eigh(flat.T.cov().reshape(flat.shape[1], -1))
    lengths = widen * values.clamp(min=1e-6 * values.max()).sqrt()
    generator = torch.Generator().manual_seed(seed)
    normal = torch.randn(n, len(center), generator=generator, dtype=flat.dtype)
    squares = torch.randn(n, len(center), 3, generator=generator, dtype=flat.dtype).square().sum(2)
    t = (normal * (DEGREES / squares).sqrt()).to(flat.device)
    log_q = StudentT(DEGREES).log_prob(t).sum(1) - lengths.log().sum()
    points = (center + (t * lengths) @ vectors.T).reshape(n, *x.shape[1:]).to(x.dtype)
    log_p = torch.cat([log_density(part) for part in points.split(chunk_size)]).double()
    weights = (log_p - log_q).exp()
    return Mass(
        float(weights.mean()),
        float(weights.std() / n**0.5),
        float(weights.sum().square() / weights.square().sum()),
    )
