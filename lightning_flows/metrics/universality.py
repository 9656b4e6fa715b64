"""What one more affine coupling block could gain (Draxler et al. 2024, arXiv 2402.06578).

Whatever the latents p(z) of a flow with a standard normal base are, one block rotates them by Q,
keeps the first half b of Q z and maps the other half a to (a - m(b)) / s(b). Its best gain is

    Δ(Q) = E_b KL(p(a | b) ‖ N(0, I)) - E_b KL(p(a | b) ‖ N(m, s²))
         = ½ E_b Σ_i (m_i² + s_i² - 1 - log s_i²)

with the mean m_i(b) and variance s_i²(b) of a_i given b. It is 0 for every rotation if and only if
p is the standard normal (completeness theorem there): a flow that no block improves is done.
"""

import math
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.func import functional_call, stack_module_state, vmap
from torchmetrics import Metric

from lightning_flows.core.errors import DataError, ShapeError, check_least
from lightning_flows.metrics.samples import as_features, joined
from lightning_flows.nets.mlp import MLP

__all__ = ["AffineGain", "BlockGain", "affine_gain", "gaussian_affine_gain"]

LEAST = 8  # rows: four to fit, two to choose and two to evaluate
HIDDEN, STEPS, BATCH, RATE = (64, 64), 400, 256, 5e-3
EVERY, PATIENCE = 20, 4  # steps between two looks, and looks without progress before it ends
LOG_SCALE = 3.0  # largest change of the log-scale with b, nats
SMALLEST = 1e-6  # scale that constant latents are given
CHANCE = 2.0  # standard errors by which the best of many blocks must win to be chosen at all


@dataclass(frozen=True)
class BlockGain:
    """What one block gains on rows that it was not fitted to.

    Args:
        gain: mean gain in log-likelihood, a scalar, nats.
        standard_error: of that mean, over the rows that it was evaluated on.
        rotation: Q of that block, (D, D): the first D // 2 entries of Q z are kept, and the others
            are mapped.
    """

    gain: Tensor
    standard_error: Tensor
    rotation: Tensor


def affine_gain(
    z: Tensor,
    context: Tensor | None = None,
    *,
    rotation: Tensor | None = None,
    rotations: int = 8,
    seed: int = 0,
) -> BlockGain:
    """Estimate Δ, what one more affine coupling block could gain, from latents.

    Networks for m and s are fitted to half of the rows. A quarter chooses how long they are fitted,
    and the rotation: the identity, the one that exchanges the halves, and `rotations` random ones.
    On the rest E[log N(a; m̂, ŝ²) - log N(a; 0, I)] is evaluated. It is an unbiased estimate of
    what this one block gains, which is at most Δ(Q), and that is at most the maximum over all
    rotations, the Δ of the paper. Where the chosen block gains less than two standard errors on
    the quarter that chose it, there is none, and the gain is 0 with a standard error of 0. So a
    gain that is above zero by some standard errors shows that a block helps; a gain of 0 shows
    that networks of this size found nothing in as many rows. Latents have to be such that the flow
    was not trained on.

    Args:
        z: latents that are meant to be standard normal, (batch, *latent). Rows that are not finite
            are left out.
        context: what they are given, (batch, *context), or None; m and s see it as well.
        rotation: Q, orthogonal, (D, D); chosen among the candidates by default.
        rotations: number of random candidates.
        seed: starting point of splits, rotations and networks; the global random state is not
            touched.

    Raises:
        DataError: fewer than eight rows are finite.
        ShapeError: a rotation of another size, or context of another number of rows.
        ConfigError: `rotations` is negative.
    """
    check_least(0, rotations=rotations, seed=seed)
    rows, given = _finite(as_features(z), context)
    n, d = rows.shape
    if n < LEAST:
        raise DataError(
            f"z has {n} finite rows; an affine gain takes at least {LEAST}, some to fit a block, "
            "some to choose it, and some to evaluate it."
        )
    if rotation is not None and rotation.shape != (d, d):
        raise ShapeError(f"rotation has shape {tuple(rotation.shape)}; expected is ({d}, {d}).")
    generator = torch.Generator().manual_seed(seed)
    order = torch.randperm(n, generator=generator).to(rows.device)
    rows, given = rows[order], given[order]
    turns = _candidates(d, rotations, generator) if rotation is None else rotation[None]
    turns = turns.to(rows)
    with torch.inference_mode(False), torch.random.fork_rng([]):
        torch.default_generator.manual_seed(seed)  # torch.manual_seed would touch other devices
        best, gains = _fitted(rows.clone(), given.clone(), turns.clone(), generator)
    return BlockGain(gains.mean(), gains.std() / len(gains) ** 0.5, turns[best])


def gaussian_affine_gain(covariance: Tensor, rotation: Tensor | None = None) -> Tensor:
    """Δ(Q) of latents with the normal density N(0, Σ): ½ Σ_i ((QΣQᵀ)_ii - 1 - log S_ii).

    The i are the entries that the block maps, and S is their covariance given the others.

    Args:
        covariance: Σ, (D, D).
        rotation: Q, orthogonal, (D, D); the identity by default. The first D // 2 entries of Q z
            are kept.

    Returns:
        A scalar, nats; double precision.
    """
    sigma = covariance.double()
    if rotation is not None:
        sigma = rotation.to(sigma) @ sigma @ rotation.to(sigma).mT
    kept = len(sigma) // 2
    moved, across = sigma[kept:, kept:], sigma[kept:, :kept]
    given = moved - across @ torch.linalg.solve(sigma[:kept, :kept], across.mT)
    gain: Tensor = 0.5 * (moved.diagonal() - 1 - given.diagonal().log()).sum()
    return gain


class AffineGain(Metric):
    """`affine_gain` of all latents.

    Args:
        rotations: number of random rotations among the candidates.
        seed: starting point of splits, rotations and networks.
        kwargs: options of `torchmetrics.Metric`.

    Raises:
        ConfigError: an option is negative.
    """

    is_differentiable = False
    higher_is_better = False
    full_state_update = False

    z: list[Tensor]
    context: list[Tensor]

    def __init__(self, *, rotations: int = 8, seed: int = 0, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        check_least(0, rotations=rotations, seed=seed)
        self.rotations = rotations
        self.seed = seed
        self.add_state("z", default=[], dist_reduce_fx="cat")
        self.add_state("context", default=[], dist_reduce_fx="cat")

    def update(self, z: Tensor, context: Tensor | None = None) -> None:
        """Take latents, (batch, *latent), with their context where they have any."""
        self.z.append(z.detach().flatten(1))
        if context is not None:
            self.context.append(context.detach().flatten(1))

    def compute(self) -> Tensor:
        """The gain so far, a scalar, nats."""
        return self._found().gain

    def standard_error(self) -> Tensor:
        """Standard error of the gain so far, a scalar; under several processes all ask for it."""
        with self.sync_context(dist_sync_fn=self.dist_sync_fn):
            return self._found().standard_error

    def _found(self) -> BlockGain:
        context = joined(self.context) if len(self.context) else None
        return affine_gain(joined(self.z), context, rotations=self.rotations, seed=self.seed)


def _finite(rows: Tensor, context: Tensor | None) -> tuple[Tensor, Tensor]:
    given = rows.new_zeros(len(rows), 0) if context is None else as_features(context)
    if len(given) != len(rows):
        raise ShapeError(f"context has {len(given)} rows for {len(rows)} latents.")
    whole = torch.cat([rows, given], 1).isfinite().all(1)
    return rows[whole], given[whole]


def _candidates(d: int, rotations: int, generator: torch.Generator) -> Tensor:
    """Identity, exchange of the halves, and random rotations: (k, D, D)."""
    eye = torch.eye(d, dtype=torch.float64)
    if d == 1:
        return eye[None]
    noise = torch.randn(rotations, d, d, generator=generator, dtype=torch.float64)
    return torch.cat([torch.stack([eye, eye.roll(d // 2, 0)]), torch.linalg.qr(noise).Q])


def _fitted(
    rows: Tensor, given: Tensor, turns: Tensor, generator: torch.Generator
) -> tuple[int, Tensor]:
    """Number of the best rotation, and what its block gains on the rows to evaluate, (rows,)."""
    n, d = rows.shape
    kept, fit, choose = d // 2, n // 2, n // 2 + n // 4
    turned = rows @ turns.mT  # (k, n, D)
    # networks start from the best map that does not look at b
    mean = turned[:, :fit].mean(1, keepdim=True)
    std = turned[:, :fit].std(1, keepdim=True).clamp(min=SMALLEST)
    unit = (turned - mean) / std
    if given.shape[1]:  # no columns have no deviation
        given = (given - given[:fit].mean(0)) / given[:fit].std(0).clamp(min=SMALLEST)
    inputs = torch.cat([unit[:, :, :kept], given.expand(len(turns), -1, -1)], 2).float()
    active, log_std = unit[:, :, kept:].float(), std[:, :, kept:].log().sum(2)
    before = 0.5 * turned[:, :, kept:].square().sum(2)
    size = d - kept
    nets = [MLP(inputs.shape[2], 2 * size, hidden=HIDDEN, zero_last=True) for _ in turns]
    net = nets[0].to(inputs)
    weights = {k: v.to(inputs.device).detach() for k, v in stack_module_state(nets)[0].items()}

    def score(weights: dict[str, Tensor], part: Tensor | slice) -> Tensor:
        """Log N(u; m, s²) + const of standardized entries, (k, rows)."""
        out = vmap(lambda w, b: functional_call(net, w, (b,)))(weights, inputs[:, part])
        m, raw = out.split(size, 2)
        s = LOG_SCALE * torch.tanh(raw / LOG_SCALE)
        log_p: Tensor = -(0.5 * ((active[:, part] - m) * (-s).exp()).square() + s).sum(2)
        return log_p

    def gains(weights: dict[str, Tensor], part: slice) -> Tensor:
        """Gain in log-likelihood, (k, rows), nats."""
        with torch.no_grad():
            gained: Tensor = before[:, part] + score(weights, part).double() - log_std
        return gained

    chosen = gains(weights, slice(fit, choose)).mean(1)
    best = {name: value.clone() for name, value in weights.items()}
    parameters = [value.requires_grad_() for value in weights.values()]
    # not fused: the gradients of stacked weights have strides of their own, which it ignores
    optimizer = torch.optim.Adam(parameters, lr=RATE)
    waited = 0
    for step in range(STEPS):
        batch = torch.randint(fit, (min(BATCH, fit),), generator=generator).to(rows.device)
        optimizer.param_groups[0]["lr"] = RATE * (1 + math.cos(math.pi * step / STEPS)) / 2
        with torch.enable_grad():
            loss = -score(weights, batch).mean(1).sum()
        for parameter, slope in zip(parameters, torch.autograd.grad(loss, parameters), strict=True):
            parameter.grad = slope
        optimizer.step()
        if (step + 1) % EVERY == 0:
            now = gains(weights, slice(fit, choose)).mean(1)
            better = now > chosen
            chosen, waited = torch.where(better, now, chosen), 0 if better.any() else waited + 1
            for name, value in weights.items():
                best[name][better] = value.detach()[better]
            if waited == PATIENCE:
                break
    which = int(chosen.argmax())
    evidence = gains(best, slice(fit, choose))[which]
    found = gains(best, slice(choose, n))[which]
    sure = evidence.mean() > CHANCE * evidence.std() / len(evidence) ** 0.5
    return which, found if sure else torch.zeros_like(found)
