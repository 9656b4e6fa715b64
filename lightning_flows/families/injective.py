"""The joint objective: a manifold and the density on it, learned at once."""

import math
from collections import Counter
from collections.abc import Callable, Sequence

import torch
from lightning.pytorch.cli import LRSchedulerCallable, OptimizerCallable
from lightning.pytorch.utilities import rank_zero_warn
from torch import Tensor

from lightning_flows.errors import ConfigError
from lightning_flows.families.base import FlowModule
from lightning_flows.flows.injective import InjectiveFlow
from lightning_flows.jacobians import ExactVolume, NoVolume, Penalty, Volume, log_volume
from lightning_flows.nets import MLP, ConvNet, MaskedMLP, ResidualMLP
from lightning_flows.recipe import build_part, is_recipe
from lightning_flows.shapes import Shape, sum_event

__all__ = ["InjectiveModule"]

SMALLEST_BETA, LARGEST_BETA = 1e-6, 1e6
ASCENT = 0.02  # largest relative change of the multiplier in a step


class InjectiveModule(FlowModule):
    """Trains a manifold and the density on it jointly, in one objective with exchangeable parts.

    With y the preprocessed data, u = project(y) and J the Jacobian of `embed` at u, the loss is

        w·(-log p_prior(u) + volume + Σ_k λ_k·penalty_k) + β·‖y - embed(u)‖²,

    constrained maximum likelihood in its Lagrangian form (Caterini et al. 2021, section 3). β is a
    noise level: residuals of standard deviation σ have β = 1/(2σ²), and the objective is at its
    safest from there up.

    Logs `nll` (nats, on the manifold, in the units of the data), `ambient_nll` (nats, in data
    space; comparable with flows of full dimension where its density has mass 1, see
    `InjectiveFlow.ambient_log_prob`), `reconstruction` (squared error summed over the entries of
    y), `log_volume`, `penalty/<name>`, `beta` where it is learned, and the loss. The
    training loss leaves the volume out where the strategy supplies its gradient only. Where that
    takes conjugate gradients, `cg/iterations` (products with JᵀJ) and `cg/residual` (the largest
    relative one of the batch) say how they fared.

    A sample whose volume fails (`jacobians.volume`) takes part with its reconstruction and prior
    only: its volume and penalties count as zero, so that each other sample weighs the same on
    every rank. `volume/failed` counts such samples, over all ranks and an epoch of training; in
    validation and test their `nll` is NaN.

    Args:
        flow: makes the injective flow from the event shape.
        event_shape: shape of one data point.
        context_shape: shape of what the density on the manifold is conditioned on.
        volume: how the gradient of the volume is computed; `ExactVolume` unless given.
        beta: weight β of the reconstruction, or its start where `target` is given.
        residual: standard deviation σ of residuals in each entry of y, in place of `beta`:
            β = 1/(2σ²).
        target: reconstruction error κ that is asked for, the mean over samples of ‖y - embed(u)‖²;
            β becomes the Lagrange multiplier that keeps it, and is saved in the checkpoint.
        penalties: on the Jacobian, each with its weight.
        noise: standard deviation of Gaussian noise on preprocessed training data; equivalent to a
            Tikhonov penalty of weight noise²/2.
        warmup: epochs between which the weight w rises from 0 to 1; until the first of them the
            volume and the penalties are not computed.
        optimizer: makes the optimizer from the parameters; fused Adam with learning rate 1e-3
            unless given.
        scheduler: makes the learning rate scheduler from the optimizer; stepped every epoch.
        compile: whether the networks are compiled with `torch.compile`.

    Raises:
        ConfigError: an option is out of range, or `residual` and `target` are both given.
    """

    flow: InjectiveFlow

    def __init__(
        self,
        flow: Callable[[Shape], InjectiveFlow],
        event_shape: Sequence[int] | int,
        context_shape: Sequence[int] | int | None = None,
        *,
        volume: Volume | None = None,
        beta: float = 50.0,
        residual: float | None = None,
        target: float | None = None,
        penalties: Sequence[Penalty] = (),
        noise: float = 0.0,
        warmup: tuple[int, int] = (0, 0),
        optimizer: OptimizerCallable | None = None,
        scheduler: LRSchedulerCallable | None = None,
        compile: bool = False,
    ) -> None:
        super().__init__(
            flow,
            event_shape,
            context_shape,
            optimizer=optimizer,
            scheduler=scheduler,
            compile=compile,
        )
        for name, value in (("beta", beta), ("residual", residual), ("target", target)):
            if value is not None and not value > 0:
                raise ConfigError(f"{name} is {value}; accepted are positive numbers.")
        if residual is not None and target is not None:
            raise ConfigError("residual and target are both given; each of them decides about β.")
        if not noise >= 0:
            raise ConfigError(f"noise is {noise}; accepted are numbers from 0 up.")
        start, end = warmup
        if not 0 <= start <= end:
            raise ConfigError(f"warmup is {list(warmup)}; accepted are two epochs in order.")
        self.volume: Volume = build_part(volume) if is_recipe(volume) else volume or ExactVolume()
        self.penalties: list[Penalty] = [
            build_part(part) if is_recipe(part) else part for part in penalties
        ]
        self._beta = beta if residual is None else 1 / (2 * residual**2)
        self.target = target
        self.log_multiplier: Tensor | None
        self.register_buffer(
            "log_multiplier", None if target is None else torch.tensor(math.log(beta))
        )
        self.noise = noise
        self.warmup = (start, end)
        self._reported = False
        self._failed: Tensor | float = 0.0  # counted on the device: nobody waits for it

    @property
    def beta(self) -> float:
        """Weight of the reconstruction at present."""
        return self._beta if self.log_multiplier is None else float(self.log_multiplier.exp())

    @property
    def likelihood_weight(self) -> float:
        """Weight w of the likelihood in the present epoch, between 0 and 1."""
        start, end = self.warmup
        if self.current_epoch >= end:
            return 1.0
        return max(0.0, (self.current_epoch - start) / (end - start))

    def training_loss(self, x: Tensor, context: Tensor | None) -> tuple[Tensor, dict[str, Tensor]]:
        y, _ = self.to_model_space(x)
        if self.noise:
            y = y + self.noise * torch.randn_like(y)
        w = self.likelihood_weight
        encode, decode = self.flow.project, self.flow.embed
        volume = self.volume if w > 0 else NoVolume()
        embedded = volume(encode, decode, y)
        failed = embedded.log_volume.detach().isnan()
        self._failed = self._failed + failed.sum()
        log_volume = torch.where(failed, 0.0, embedded.log_volume)
        reconstruction = sum_event((y - embedded.x_hat).square())
        # where all fail, the network itself is broken, and the loss shall show it
        lost = failed & ~failed.all() & ~reconstruction.detach().isfinite()
        reconstruction = torch.where(lost, 0.0, reconstruction)
        parts = {"reconstruction": reconstruction}
        if volume.last_solution is not None:
            parts["cg/iterations"] = y.new_tensor(volume.last_solution.iterations)
            parts["cg/residual"] = volume.last_solution.residuals.max()
        elif volume.measures:
            parts["log_volume"] = embedded.log_volume.nanmean()
        # with w = 0 the prior still takes part, so no parameter is without a gradient under DDP
        negative = log_volume - self.flow.prior.log_prob(embedded.u, context)
        for name, penalty in self._named_penalties() if w > 0 else ():
            value = torch.where(failed, 0.0, penalty(encode, decode, y, embedded))
            parts[f"penalty/{name}"] = value
            negative = negative + penalty.weight * value
        self._ascend(reconstruction)
        return w * negative + self.beta * reconstruction, parts

    def evaluate(self, x: Tensor, context: Tensor | None) -> dict[str, Tensor]:
        y, contribution = self.to_model_space(x)
        u = self.flow.project(y)
        volume = log_volume(self._embed_in_data, u)
        reconstruction = sum_event((y - self.flow.embed(u)).square())
        nll = volume - self.flow.prior.log_prob(u, context)
        ambient = self.flow.ambient_log_prob(y, context, beta=self.beta) + contribution
        return {
            "nll": nll,
            "ambient_nll": -ambient,
            "reconstruction": reconstruction,
            "log_volume": volume,
            "loss": nll + self.beta * reconstruction,
        }

    def log_prob(self, x: Tensor, context: Tensor | None = None) -> Tensor:
        """Log-density at the projection of x with respect to d-dimensional volume of data space.

        Args:
            x: data in original units, (batch, *event_shape).
            context: (batch, *context_shape), or None.

        Returns:
            (batch,), nats.
        """
        u = self.flow.project(self.to_model_space(x)[0])
        return self.flow.prior.log_prob(u, context) - log_volume(self._embed_in_data, u)

    def ambient_log_prob(self, x: Tensor, context: Tensor | None = None) -> Tensor:
        """Log-density of x in data space, residuals scored as Gaussian; see `InjectiveFlow`.

        Args:
            x: data in original units, (batch, *event_shape).
            context: (batch, *context_shape), or None.

        Returns:
            (batch,), nats.
        """
        y, contribution = self.to_model_space(x)
        return self.flow.ambient_log_prob(y, context, beta=self.beta) + contribution

    def reconstruct(self, x: Tensor, context: Tensor | None = None) -> Tensor:
        """Projections of data onto the manifold, in original units: (batch, *event_shape).

        Context does not change them: it conditions the density on the manifold alone.
        """
        return self._embed_in_data(self.flow.project(self.to_model_space(x)[0]))

    def on_train_epoch_end(self) -> None:
        if not isinstance(self.volume, NoVolume):
            failed, self._failed = self._failed, 0.0
            self.log("train/volume/failed", float(failed), reduce_fx="sum", sync_dist=True)
        if self.target is None:
            return
        self.log("train/beta", self.beta)
        stuck = self.beta >= 0.99 * LARGEST_BETA and self.current_epoch >= self.warmup[1]
        if stuck and not self._reported:
            self._reported = True
            rank_zero_warn(
                f"The reconstruction error does not come down to target={self.target}: β has "
                f"reached {LARGEST_BETA:g}. Training goes on; a larger latent_features or a "
                "larger target would help."
            )

    @torch.no_grad()
    def _ascend(self, reconstruction: Tensor) -> None:
        """One step of dual ascent on the multiplier, with the error of all ranks."""
        if self.target is None or self.log_multiplier is None:
            return
        error = self.trainer.strategy.reduce(reconstruction.mean(), reduce_op="mean")
        step = ASCENT * (torch.as_tensor(error) / self.target - 1).clamp(-1, 1)
        self.log_multiplier.add_(step).clamp_(math.log(SMALLEST_BETA), math.log(LARGEST_BETA))

    def _named_penalties(self) -> list[tuple[str, Penalty]]:
        """Penalties with the names they are logged under, the second of a kind as `<name>_2`."""
        seen = Counter[str]()
        named = []
        for penalty in self.penalties:
            seen[penalty.name] += 1
            count = seen[penalty.name]
            named.append((penalty.name if count == 1 else f"{penalty.name}_{count}", penalty))
        return named

    def compile_parts(self) -> None:
        for module in self.flow.modules():
            if isinstance(module, MLP | ConvNet | ResidualMLP | MaskedMLP):
                module.compile()

    def _embed_in_data(self, u: Tensor) -> Tensor:
        return self.from_model_space(self.flow.embed(u))
