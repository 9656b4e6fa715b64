"""Bare training loops that the comparisons of injective flows share."""

import math
from collections.abc import Callable
from copy import deepcopy

import torch
from torch import Tensor, nn

from lightning_flows.bases.base import Density
from lightning_flows.flows.injective import InjectiveFlow
from lightning_flows.objectives import NoVolume, Volume

__all__ = ["BATCH", "CLIP", "WARMUP", "descend", "fit_density", "train_joint"]

BATCH = 256
LOOKS = 25  # at the validation rows during training
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
    val: Tensor | None = None,
) -> bool:
    """Minimize volume - log prior + β·squared error, or the error alone; False if it broke.

    With rows to validate on, the parameters are those with the least objective there.
    """
    begin = math.ceil(WARMUP * steps)

    def loss(step: int) -> Tensor:
        batch = x[torch.randint(len(x), (BATCH,))]
        whole = prior and step >= begin
        if whole and step == begin:
            flow.initialize(x)
        embedded = (volume if whole else NoVolume())(flow.project, flow.embed, batch)
        error = beta * (batch - embedded.x_hat).square().sum(1)
        if whole:
            error = error + embedded.log_volume - flow.prior.log_prob(embedded.u)
        return error

    def score() -> float:
        assert val is not None
        if prior:
            return -flow.ambient_log_prob(val, beta=beta).mean().item()
        return squared_errors(flow, val).mean().item()

    return descend(
        flow, loss, steps, rate, score=None if val is None else score, begin=begin if prior else 0
    )


def squared_errors(flow: InjectiveFlow, x: Tensor) -> Tensor:
    """Squared reconstruction errors, summed over columns: (n, D) -> (n,)."""
    return (x - flow.embed(flow.project(x))).square().sum(1)


def fit_density(
    density: Density, x: Tensor, steps: int, *, rate: float, val: Tensor | None = None
) -> bool:
    """Maximize the likelihood of rows (n, d), or of those to validate on; False if it broke."""

    def loss(step: int) -> Tensor:
        return -density.log_prob(x[torch.randint(len(x), (BATCH,))])

    def score() -> float:
        assert val is not None
        return -density.log_prob(val).mean().item()

    return descend(density, loss, steps, rate, score=None if val is None else score)


def descend(
    model: nn.Module,
    loss: Callable[[int], Tensor],
    steps: int,
    rate: float,
    *,
    score: Callable[[], float] | None = None,
    begin: int = 0,
) -> bool:
    """Adam whose rate rises over 5 % of the steps and falls to zero along a cosine.

    Args:
        model: what is trained.
        loss: gives the losses of a batch, (batch,), from the number of the step.
        steps: number of steps.
        rate: highest learning rate.
        score: of the model as it is, lower is better. Where it is given, the parameters that did
            best at any of `LOOKS` times are what the model has in the end.
        begin: first step after which the model is scored.

    Returns:
        Whether all gradients were finite; training ends at the first that is not.
    """
    best, kept = math.inf, None
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
        if score is not None and step >= begin and (step + 1) % max(1, steps // LOOKS) == 0:
            with torch.no_grad():
                now = score()
            if now < best:
                best, kept = now, deepcopy(model.state_dict())
    if kept is not None:
        model.load_state_dict(kept)
    return True
