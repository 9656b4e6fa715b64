"""Bare training loops that the comparisons of injective flows share."""

import math
from collections.abc import Callable, Sequence
from statistics import mean, stdev

import torch
from torch import Tensor, nn

from lightning_flows.bases.base import Density
from lightning_flows.flows.injective import InjectiveFlow
from lightning_flows.jacobians import NoVolume, Volume

__all__ = ["BATCH", "CLIP", "WARMUP", "descend", "fit_density", "mean_and_error", "train_joint"]

BATCH = 256
CLIP = 100.0  # largest norm of a gradient
WARMUP = 0.2  # share of the steps that joint methods spend on the reconstruction alone, at first


def train_joint(
    flow: InjectiveFlow,
    volume: Volume,
    x: Tensor,
    steps: int,
    *,
    beta: float,
    rate: float,
    prior: bool = True,
) -> bool:
    """Minimise volume - log prior + β·squared error, or the error alone; False if it broke."""
    begin = math.ceil(WARMUP * steps)

    def loss(step: int) -> Tensor:
        batch = x[torch.randint(len(x), (BATCH,))]
        whole = prior and step >= begin
        if whole and step == begin:
            flow.initialise(x)
        embedded = (volume if whole else NoVolume())(flow.project, flow.embed, batch)
        error = beta * (batch - embedded.x_hat).square().sum(1)
        if whole:
            error = error + embedded.log_volume - flow.prior.log_prob(embedded.u)
        return error

    return descend(flow, loss, steps, rate)


def fit_density(density: Density, x: Tensor, steps: int, *, rate: float) -> bool:
    """Maximise the likelihood of rows (n, d); False if it broke."""

    def loss(step: int) -> Tensor:
        return -density.log_prob(x[torch.randint(len(x), (BATCH,))])

    return descend(density, loss, steps, rate)


def descend(model: nn.Module, loss: Callable[[int], Tensor], steps: int, rate: float) -> bool:
    """Adam whose rate rises over 5 % of the steps and falls to zero along a cosine.

    Args:
        model: what is trained.
        loss: gives the losses of a batch, (batch,), from the number of the step.
        steps: number of steps.
        rate: highest learning rate.

    Returns:
        Whether all gradients were finite; training ends at the first that is not.
    """
    optimizer = torch.optim.Adam(model.parameters(), lr=rate, fused=True)
    rise = max(1, steps // 20)

    def factor(step: int) -> float:
        return min(1, (step + 1) / rise) * 0.5 * (1 + math.cos(math.pi * step / steps))

    scheduler = torch.optim.lr_scheduler.LambdaLR(optimizer, factor)
    for step in range(steps):
        optimizer.zero_grad()
        loss(step).mean().backward()
        if not torch.nn.utils.clip_grad_norm_(model.parameters(), CLIP).isfinite():
            return False
        optimizer.step()
        scheduler.step()
    return True


def mean_and_error(values: Sequence[float], *, digits: int = 3) -> str:
    """Mean ± standard error; a dash where there is no value."""
    if not values:
        return "–"
    error = f" ± {stdev(values) / len(values) ** 0.5:.2g}" if len(values) > 1 else ""
    return f"{mean(values):.{digits}g}{error}"
