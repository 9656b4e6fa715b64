"""Ordinary differential equations, by adaptive or fixed steps."""

from collections.abc import Callable

import torch
from torch import Tensor

from lightning_flows.core.errors import DivergenceError

__all__ = ["integrate"]

_MOST_STEPS = 10_000  # of adaptive integration, before it gives up


def integrate(
    rate: Callable[[Tensor, Tensor], Tensor],
    y: Tensor,
    start: float,
    end: float,
    *,
    steps: int | None = None,
    tolerance: float = 1e-5,
) -> Tensor:
    """State at `end` of dy/dt = rate(t, y) from y at `start`.

    Adaptive steps are those of Dormand and Prince (1980) in torchdiffeq; all rows share them, and
    each row meets the tolerance, so that results of a row depend on the other rows within it. Fixed
    steps are those of the classical Runge-Kutta method of order 4: rows are independent to the last
    digits, and `torch.func` and `torch.compile` go through. Gradients flow back through both.

    Args:
        rate: times (batch,) and states (batch, n) to derivatives (batch, n), row by row.
        y: state at `start`, (batch, n).
        start: time at which it begins.
        end: time at which it ends, before or after `start`.
        steps: number of fixed steps; None adapts them.
        tolerance: absolute, and relative to the state, of each adaptive step.

    Returns:
        (batch, n).

    Raises:
        DivergenceError: the rate is too steep for adaptive steps, or not finite.
    """
    if steps is None and len(y):
        return _adaptive(rate, y, start, end, tolerance)
    return _fixed(rate, y, start, end, steps or 1)


def _fixed(
    rate: Callable[[Tensor, Tensor], Tensor], y: Tensor, start: float, end: float, steps: int
) -> Tensor:
    h = (end - start) / steps
    for i in range(steps):
        first, middle, last = (y.new_full((len(y),), start + (i + j) * h) for j in (0.0, 0.5, 1.0))
        k1 = rate(first, y)
        k2 = rate(middle, y + h / 2 * k1)
        k3 = rate(middle, y + h / 2 * k2)
        k4 = rate(last, y + h * k3)
        y = y + h / 6 * (k1 + 2 * k2 + 2 * k3 + k4)
    return y


def _adaptive(
    rate: Callable[[Tensor, Tensor], Tensor], y: Tensor, start: float, end: float, tolerance: float
) -> Tensor:
    from torchdiffeq import odeint

    wide = torch.float32 if y.device.type == "mps" else torch.float64
    times = torch.tensor([start, end], dtype=wide, device=y.device)
    try:
        path: Tensor = odeint(
            lambda t, y: rate(t.to(y.dtype).expand(len(y)), y),
            y,
            times,
            rtol=tolerance,
            atol=tolerance,
            method="dopri5",
            options={"norm": _largest, "max_num_steps": _MOST_STEPS, "dtype": wide},
        )
    except AssertionError as error:
        reason = str(error).partition("\n")[0]
        raise DivergenceError(
            f"The differential equation cannot be followed by adaptive steps ({reason}): the field "
            "has become too steep or is not finite; fixed steps always come to an end."
        ) from error
    return path[-1]


def _largest(errors: Tensor) -> Tensor:
    """Root mean square of a row, in the worst row."""
    return errors.square().mean(-1).sqrt().amax()
