"""Training on an unnormalized log-density instead of data, by the reverse KL divergence."""

import math
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, NamedTuple, Protocol

import torch
from torch import Tensor

from lightning_flows.bases.base import Density, check_context
from lightning_flows.core.errors import (
    ConfigError,
    DataError,
    ShapeError,
    check_least,
    check_positive,
)
from lightning_flows.core.noise import Divided, Reproducible
from lightning_flows.core.signatures import Options
from lightning_flows.metrics import (
    EffectiveSampleSize,
    LogEvidence,
    effective_sample_size,
    log_evidence,
)
from lightning_flows.metrics.importance import LogEvidenceError
from lightning_flows.modules.arguments import target_of
from lightning_flows.modules.base import FlowFactory, ModuleOptions
from lightning_flows.modules.batches import context_alone
from lightning_flows.modules.density import DensityModule

__all__ = ["EnergyModule", "LogDensity"]

POOLED = {
    "ess": EffectiveSampleSize,
    "log_evidence": LogEvidence,
    "log_evidence_se": LogEvidenceError,
}


class LogDensity(Protocol):
    """What a target has to have; a `Density` has it."""

    def log_prob(self, x: Tensor, context: Tensor | None = None) -> Tensor:
        """Log-density up to a constant, (batch,), nats; without context it is given x alone."""


class Drawn(NamedTuple):
    """Draws of the flow, n for each row of a batch, one row after the other.

    Attributes:
        y: preprocessed points, (batch · n, *event_shape).
        context: of each, in original units, or None.
        log_q: log-density of the flow in original units, (batch · n,).
        log_p: that of the target, up to a constant, (batch · n,).
    """

    y: Tensor
    context: Tensor | None
    log_q: Tensor
    log_p: Tensor


class EnergyModule(DensityModule):
    """Trains a flow q on a target p̃ = Z p that can be evaluated but not drawn from.

    The loss is the reverse Kullback-Leibler divergence up to log Z (Rezende and Mohamed 2015;
    Noé et al. 2019),

        E_q[log q(x) - log p̃(x) / T] = KL(q ‖ p̃^(1/T) / Z_T) - log Z_T,

    with `samples` draws for each row of a batch. Gradients go through the draws, so the flow must
    be a bijection of an exact density whose base is reparametrized. Data is asked for three things
    only: how many rows a step has, their context, and where an ActNorm starts. Batches may hold
    contexts alone: a mapping without data, or a tensor of contexts. With context one flow q(x | c)
    learns a whole path of targets p̃(x | c).

    The divergence seeks modes: where q is small nothing is asked of it, so that it may leave out
    modes of the target and look perfect to all figures but `nll`. A temperature that falls from
    above 1 makes that less likely.

    Validation and test log, of `eval_samples` draws for each row at the last temperature, `elbo`
    (E_q[log p̃/T - log q] ≤ log Z_T, nats), `ess` (effective sample size of the weights, by the
    number of draws, in (0, 1]) and `log_evidence` (log Z_T by importance sampling, nats). Without
    context the last two pool all draws of all ranks. With context they are means over rows, each a
    target of its own; the logarithm of a mean of n weights is then too low by about
    (1/ess - 1) / 2n. `nll` is the negative log-likelihood of the data (nats): where the data are
    draws of the target it shows modes that were missed; where there are contexts alone it is that
    of one draw of the flow. In evaluation mode draws are a hash of rows and of their places.

    Args:
        flow: makes the flow from the event shape.
        event_shape: shape of one point.
        context_shape: shape of what flow and target are conditioned on.
        target: has `log_prob(x)`, or with context `log_prob(x, context)`, up to a constant in nats:
            one of `lightning_flows.targets`, a subclass of `Target` or another `Density`; in Python
            also any class with that method, or a `functools.partial` of it, which is called
            without arguments. Its parameters are not trained.
        samples: draws for each row of a batch in training.
        eval_samples: the same in validation and test.
        temperature: T, or (start, end, steps): from start to end in so many optimizer steps, by
            the same factor in each.
        options: those of `FlowModule` but noise, which is one on data.

    Raises:
        ConfigError: an option is out of range, the target has no log_prob or cannot be stored, or
            the flow cannot be drawn from with gradients.
        ShapeError: a target of other shapes.
    """

    def __init__(
        self,
        flow: FlowFactory,
        event_shape: Sequence[int] | int,
        context_shape: Sequence[int] | int | None = None,
        *,
        target: Density | LogDensity | Callable[[], LogDensity],
        samples: int = 1,
        eval_samples: int = 32,
        temperature: float | tuple[float, float, int] = 1.0,
        **options: Options[ModuleOptions],
    ) -> None:
        made = target_of(target)
        super().__init__(flow, event_shape, context_shape, **options)
        if self.noise:
            raise ConfigError(
                f"noise is {self.noise}; EnergyModule trains on no data that it could be added to, "
                "so accepted is 0."
            )
        check_least(1, samples=samples, eval_samples=eval_samples)
        self.samples = samples
        self.eval_samples = eval_samples
        self.temperature = _schedule(temperature)
        self.target = made
        if isinstance(target, type | partial):  # else a recipe names a part
            self.hparams["target"] = {**self.hparams["target"], "factory": True}
        if isinstance(self.target, Density):
            self._check_shapes(self.target)
        self._untried = True

    def check_flow(self, flow: Density) -> None:
        super().check_flow(flow)
        name = type(flow).__name__
        needs = "EnergyModule follows gradients through draws of the flow and their log-densities"
        if not flow.exact or flow.kind != "bijection":
            what = "exact" if flow.exact else "known up to a lower bound"
            raise ConfigError(
                f"{needs}; {name} is {what} and its kind is {flow.kind}: use a bijection, such as "
                "RealNVP."
            )
        if not flow.reparametrized:
            raise ConfigError(
                f"{needs}; {name} has a base whose draws choose between categories: use one such "
                "as Normal."
            )

    def setup(self, stage: str) -> None:
        super().setup(stage)
        part = self.preprocess
        if part is not None and not (part.exact and part.kind == "bijection"):
            raise ConfigError(
                "EnergyModule scores draws in the units of the data, which takes a bijection; the "
                f"preprocessing of the data, {type(part).__name__}, is of the kind {part.kind}."
            )

    @property
    def scores_draw(self) -> bool:
        return True

    def temperature_at(self, step: int) -> float:
        """T after so many optimizer steps."""
        start, end, steps = self.temperature
        fraction = min(step / steps, 1.0)
        return math.pow(start, 1 - fraction) * math.pow(end, fraction)

    @torch.no_grad()
    def log_weights(self, n: int, context: Tensor | None = None) -> Tensor:
        """Log p̃(x)/T - log q(x) of n new draws of the flow, T being the last temperature.

        `metrics.log_evidence` and `metrics.effective_sample_size` take them.

        Args:
            n: number of draws, for each row of context where there is context.
            context: (batch, *context_shape), or None.

        Returns:
            (n,), or with context (batch, n), nats.
        """
        check_context(self.context_shape, context)
        rows = 1 if context is None else len(context)
        weights = self._weights(self._draw(rows, context, n))
        return weights if context is None else weights.reshape(rows, n)

    def unpack(self, batch: Any) -> tuple[Tensor, Tensor | None]:
        keys = {"data_key": self.data_key, "context_key": self.context_key}
        context = context_alone(batch, self.context_shape, **keys)
        if context is None:
            return super().unpack(batch)
        if self.training and not self._uninitialized:  # no one looks at the points
            return context.new_zeros(len(context), *self.event_shape), context
        with torch.no_grad(), Reproducible(context.float()):
            return self.sample(1, context)[:, 0], context

    def training_loss(self, x: Tensor, context: Tensor | None) -> tuple[Tensor, dict[str, Tensor]]:
        temperature = self.temperature_at(self.global_step)
        drawn = self._draw(len(x), context, self.samples)
        elbo = drawn.log_p / temperature - drawn.log_q
        loss, parts = self._penalized(-elbo, drawn.y, drawn.context)
        parts["elbo"] = elbo
        if self.temperature[0] != self.temperature[1]:
            parts["temperature"] = elbo.new_full((1,), temperature)
        return loss.reshape(len(x), self.samples).mean(1), parts

    def evaluate(self, x: Tensor, context: Tensor | None) -> dict[str, Tensor]:
        return self._evaluated(x, context)[0]

    def objective_nll(self, x: Tensor, context: Tensor | None = None) -> Tensor:
        return -self.log_prob(x, context)

    def _evaluated(self, x: Tensor, context: Tensor | None) -> tuple[dict[str, Tensor], Tensor]:
        """What is reported of each row, and the log-weights of its draws, (batch, eval_samples)."""
        rows, n = len(x), self.eval_samples
        with Reproducible(x.float(), not self.training), Divided(n):
            drawn = self._draw(rows, context, n)
            flat = self._weights(drawn)
            loss, _ = self._penalized(-flat, drawn.y, drawn.context)
        weights = flat.reshape(rows, n)
        values = {
            "nll": -self.log_prob(x, context),
            "elbo": weights.mean(1),
            "loss": loss.reshape(rows, n).mean(1),
        }
        if context is not None:
            values["ess"] = effective_sample_size(weights, fraction=True)
            values["log_evidence"] = log_evidence(weights).value
        return values, weights

    def _report(
        self,
        stage: str,
        evaluate: Callable[..., dict[str, Tensor]],
        batch: Any,
        batch_idx: int,
        dataloader_idx: int,
    ) -> None:
        """Without context all draws are of one target: their weights are pooled over the split."""
        seen: list[Tensor] = []

        def keeping(x: Tensor, context: Tensor | None) -> dict[str, Tensor]:
            values, weights = self._evaluated(x, context)
            seen.append(weights)
            return values

        super()._report(stage, keeping, batch, batch_idx, dataloader_idx)
        if self.context_shape is None:
            for name, make in POOLED.items():
                place = batch_idx, dataloader_idx
                self._evaluation.gather(self, f"{stage}/{name}", make, seen[0], *place)

    def _draw(self, rows: int, context: Tensor | None, n: int) -> Drawn:
        """Draws of the flow, n for each of so many rows, with both log-densities."""
        given = None if context is None else context.repeat_interleave(n, 0)
        y, log_q = self.flow.draw_and_score(rows * n, self.to_model_context(given))
        x, contribution = y, torch.zeros((), device=y.device)
        if self.preprocess is not None:
            x, contribution = self.preprocess.decode(y)
        return Drawn(y, given, log_q + contribution, self._scored_by_target(x, given))

    def _weights(self, drawn: Drawn) -> Tensor:
        return drawn.log_p / self.temperature[1] - drawn.log_q

    def _scored_by_target(self, x: Tensor, context: Tensor | None) -> Tensor:
        rows = () if context is None else (context.to(x.dtype),)
        log_p: Tensor = self.target.log_prob(x, *rows)
        if log_p.shape != (len(x),):
            raise ShapeError(
                f"target gave log-densities of shape {tuple(log_p.shape)} for {len(x)} points; "
                f"expected is ({len(x)},), one for each."
            )
        if self._untried or not self.training:  # looking at each step would wait for the GPU
            self._untried = False
            missing = int((log_p.isnan() & x.flatten(1).isfinite().all(1)).sum())
            if missing:
                raise DataError(
                    f"target gave NaN for {missing} of {len(x)} points that the flow drew; "
                    "accepted are finite log-densities, and -inf where there is no mass."
                )
        return log_p

    def _check_shapes(self, target: Density) -> None:
        for name in ("event_shape", "context_shape"):
            own, other = getattr(self, name), getattr(target, name)
            if own != other:
                raise ShapeError(
                    f"target {type(target).__name__} has {name} {other}; the model has {own}."
                )


def _schedule(temperature: Any) -> tuple[float, float, int]:
    """First and last temperature, and the steps between them."""
    parts = [*temperature] if isinstance(temperature, Sequence) else [temperature, temperature, 1]
    if len(parts) != 3:
        raise ConfigError(
            f"temperature is {temperature}; accepted are a positive number, or start, end and "
            "number of steps."
        )
    start, end, steps = parts
    check_positive(temperature=start)
    check_positive(temperature=end)
    check_least(1, **{"steps of temperature": steps})
    return float(start), float(end), int(steps)
