"""The integral of exp(-loss), which is 1 where the loss is a negative log-density."""

import math
from collections.abc import Callable, Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from lightning_flows.core.errors import ConfigError, ShapeError, check_least
from lightning_flows.metrics.proposal import draws_around

__all__ = ["Mass", "log_mass", "mass_of_draws"]

LEVEL = math.erfc(3 / math.sqrt(2)) / 2  # chance that a normal is above 3 standard deviations
TOLERANCE = 1e-4  # relative, which rounding of losses in single precision may take up


class Mass(NamedTuple):
    """An estimate of M = ∫ exp(-loss(x)) dx over data space.

    Args:
        log_mass: log M, nats; infinite where a loss is -inf, -inf where no draw has any mass.
        standard_error: of M relative to M, which is that of log M where it is small; of a grid, the
            change that leaving out every second line makes. It cannot be trusted where
            `effective_samples` is below a hundred or so.
        effective_samples: number of equal weights that the weights are worth, (Σw)² / Σw².
        nan_share: share of points whose loss is NaN; they count as no mass.
        log_lower: logarithm of a lower confidence bound of M, nats, -inf where there is none.
    """

    log_mass: float
    standard_error: float
    effective_samples: float
    nan_share: float
    log_lower: float

    @property
    def value(self) -> float:
        """The mass M itself; infinite where it is beyond double precision."""
        return math.exp(self.log_mass) if self.log_mass < 709 else math.inf

    @property
    def exceeds_one(self) -> bool:
        """Whether M is above 1 by more than three standard errors (a chance of 1 to 2 in 1000).

        It is judged by `log_lower`, which holds where few weights are most of M as well.
        """
        return self.log_lower > TOLERANCE


@torch.no_grad()
def log_mass(
    negative_log: Callable[[Tensor], Tensor],
    data: Tensor,
    *,
    samples: int = 100_000,
    bounds: Sequence[tuple[float, float]] | None = None,
    chunk_size: int = 10_000,
    seed: int = 0,
) -> Mass:
    """Mass of exp(-loss), by importance sampling around data, or by a grid in 1 or 2 dimensions.

    Where the mass is at most 1 the mean loss over data is at least their differential entropy,
    whatever the parameters are; with mass M it is at least the entropy minus log M. A likelihood
    may be compared with another only where both have the same mass.

        module.eval()
        log_mass(module.objective_nll, x).exceeds_one
        log_mass(lambda x: -module.ambient_log_prob(x), x).value

    Importance sampling takes x_k from a broad mixture r around the data (`draws_around`) and
    averages the weights exp(-loss(x_k)) / r(x_k), in logarithms. Thin densities and many dimensions
    waste most draws: look at `effective_samples`. What no draw hits is not seen, so that a mass
    below 1 proves nothing, and an excess does.

    A loss with noise of variance v has a mass e^(v/2) times as large: average it first, as
    `callbacks.MassCertificate` does.

    With `bounds` the trapezoidal rule is applied to a grid of about `samples` points; mass beyond
    the bounds, and between the points, is not seen.

    Args:
        negative_log: points to losses in nats, (batch, *event) to (batch,).
        data: points of the data, (m, *event), with more points than entries; of a grid, only their
            shape and type count.
        samples: number of draws, or of grid points.
        bounds: lower and upper end of each entry of an event; None draws.
        chunk_size: points that are scored at a time.
        seed: starting point of the draws; the global random state is not touched.

    Returns:
        The mass, with an error that covers the choice of draws.

    Raises:
        ConfigError: fewer than two draws or three grid points along an entry, none in a chunk,
            or bounds that do not fit.
        ShapeError: there are no more points than entries, or losses have another shape.
        DataError: the data are integers, not finite, or all the same.
    """
    check_least(2, samples=samples)
    check_least(1, chunk_size=chunk_size)
    if bounds is not None:
        return _grid_mass(negative_log, data, samples, bounds, chunk_size)
    points, log_proposal = draws_around(data, samples, seed=seed)
    return mass_of_draws(_losses(negative_log, points, chunk_size), log_proposal)


def mass_of_draws(losses: Tensor, log_proposal: Tensor) -> Mass:
    """The mass from losses at draws of known log-density, both (n,), nats.

    The lower bound is the larger of two: three standard errors below the mean of weights that are
    capped at n / 100, a mean that is at most M and near to normal; and the mean of all weights
    times 0.00135, by Markov's inequality.
    """
    n = len(losses)
    log_weights, nan_share = _without_nan(log_proposal.cpu(), losses)
    top, weights = _scaled(log_weights)
    mean = weights.mean()
    found = top + float(mean.log())
    error = float(weights.std() / (mean * n**0.5)) if mean > 0 else math.inf
    capped = log_weights.clamp(max=math.log(n / 100)).exp()
    lower = float(capped.mean() - 3 * capped.std() / n**0.5)
    bound = max(math.log(lower) if lower > 0 else -math.inf, found + math.log(LEVEL))
    return Mass(found, error, _effective(weights), nan_share, bound)


def _grid_mass(
    negative_log: Callable[[Tensor], Tensor],
    data: Tensor,
    samples: int,
    bounds: Sequence[tuple[float, float]],
    chunk_size: int,
) -> Mass:
    size = data.shape[1:].numel()
    if len(bounds) != size or size > 2 or any(not -math.inf < a < b < math.inf for a, b in bounds):
        raise ConfigError(
            f"bounds are {bounds} for events of {size} entries; accepted are finite pairs "
            "(lower, upper), one for each entry, of events with 1 or 2 entries."
        )
    check_least(3**size, samples=samples)
    count = (round(samples ** (1 / size)) - 1) // 2 * 2 + 1  # odd: every second line is a grid too
    lines = [torch.linspace(a, b, count, dtype=torch.float64) for a, b in bounds]
    points = torch.cartesian_prod(*lines).reshape(-1, *data.shape[1:])
    losses = _losses(negative_log, points.to(data), chunk_size)
    log_density, nan_share = _without_nan(torch.zeros(()), losses)
    top, density = _scaled(log_density.reshape(*[count] * size))
    fine, coarse = density, density[(slice(None, None, 2),) * size]
    for line in reversed(lines):
        fine, coarse = torch.trapezoid(fine, line), torch.trapezoid(coarse, line[::2])
    found = top + float(fine.log())
    error = float((coarse / fine - 1).abs()) if fine > 0 else math.inf
    bound = found + math.log1p(-3 * error) if 3 * error < 1 else -math.inf
    return Mass(found, error, _effective(density), nan_share, bound)


def _losses(negative_log: Callable[[Tensor], Tensor], points: Tensor, chunk_size: int) -> Tensor:
    losses = torch.cat([negative_log(part) for part in points.split(chunk_size)])
    if losses.shape != (len(points),):
        raise ShapeError(
            f"negative_log gave shape {tuple(losses.shape)} for {len(points)} points; expected is "
            "one loss a point, (batch,)."
        )
    return losses


def _without_nan(log_proposal: Tensor, losses: Tensor) -> tuple[Tensor, float]:
    """Log-weights in double precision on the CPU, -inf where the loss is NaN, and their share."""
    losses = losses.detach().cpu().double()
    missing = losses.isnan()
    log_weights = torch.where(missing, -torch.inf, -losses - log_proposal)
    return log_weights, float(missing.double().mean())


def _scaled(log_weights: Tensor) -> tuple[float, Tensor]:
    """The largest one, and weights relative to it; where it is infinite those that are count."""
    top = float(log_weights.max())
    if math.isinf(top):
        return top, (log_weights == math.inf).double()
    return top, (log_weights - top).exp()


def _effective(weights: Tensor) -> float:
    total = float(weights.sum())
    return total**2 / float(weights.square().sum()) if total > 0 else 0.0
