"""The joint objective: a manifold and the density on it, learned at once."""

import copy
import math
from collections.abc import Callable, Sequence
from typing import Any

import torch
from lightning.pytorch.utilities import rank_zero_warn
from torch import Tensor

from lightning_flows.core.errors import ConfigError
from lightning_flows.core.shapes import Shape, size, sum_event
from lightning_flows.core.signatures import Options
from lightning_flows.flows.injective import InjectiveFlow
from lightning_flows.modules.arguments import part_of
from lightning_flows.modules.base import ModuleOptions
from lightning_flows.modules.manifold import ManifoldModule
from lightning_flows.objectives import (
    ExactVolume,
    NoVolume,
    Reconstruction,
    Volume,
    volume_and_penalties,
)
from lightning_flows.objectives.failures import Embedded

__all__ = ["InjectiveModule", "InjectiveOptions", "ManifoldOptions"]


class ManifoldOptions(ModuleOptions, total=False):
    """What every injective module takes beside its flow, shapes and volume."""

    reconstruction: Reconstruction | float
    warmup: tuple[int, int]


class InjectiveOptions(ManifoldOptions, total=False):
    """What `RectangularModule` takes beside its flow and shapes; see `InjectiveModule`."""

    volume: Volume | None


class InjectiveModule(ManifoldModule):
    """Trains a manifold and the density on it jointly, in one objective with exchangeable parts.

    With y the preprocessed data, u = project(y) and J the Jacobian of `embed` at u, the loss is

        w·(-log p_prior(u) + volume + Σ_k λ_k·penalty_k) + β·‖y - embed(u)‖²,

    constrained maximum likelihood in its Lagrangian form (Caterini et al. 2021, section 3). β is a
    noise level: residuals of standard deviation σ have β = 1/(2σ²), and the objective is at its
    safest from there up.

    Logs `nll` (nats, on the manifold, in the units of the data), `ambient_nll` (nats, in data
    space; comparable with flows of full dimension where its density has mass 1, see
    `InjectiveFlow.ambient_log_prob`), `reconstruction` (squared error summed over the entries of
    y), `log_volume` (of y in training, of the data in validation and test), `penalty/<name>`,
    `beta` where it is learned, and the loss. The training loss leaves the volume out where the
    strategy supplies its gradient only. Where that takes conjugate gradients, `cg/iterations`
    (products with JᵀJ) and `cg/residual` (the largest relative one of the batch) say how they
    fared.

    In validation and test the loss is the objective above with w = 1, of preprocessed data as in
    training: the order of two models by `val/loss` is that of their objectives. Random probes of
    penalties are then a hash of the data. Validation and test, `ambient_nll` among them, take a β
    that does not move (`TargetError`).

    A sample whose volume or whose penalty fails (`objectives.volume_and_penalties`) takes part in
    training with its reconstruction and prior only: its volume and penalties count as zero, so
    that each other sample weighs the same on every rank. In validation and test it is left out of
    the means that need its volume, and a warning says so. `volume/failed` counts such samples,
    over all ranks and an epoch. Where it is the data or the prior that is not finite, nothing is
    left out.

    Args:
        flow: makes the injective flow from the event shape.
        event_shape: shape of one data point.
        context_shape: shape of what the density on the manifold is conditioned on.
        volume: how the gradient of the volume is computed; `ExactVolume` by default.
        reconstruction: the weight β of the reconstruction, a number, or a part that says it:
            `NoiseLevel` or `TargetError`.
        warmup: epochs between which the weight w rises from 0 to 1; until the first of them the
            volume and the penalties are not computed. Twice the same epoch is a step there.
        options: those of `FlowModule`.

    Raises:
        ConfigError: an option is out of range, or the flow is not one on a manifold.
    """

    def __init__(
        self,
        flow: Callable[[Shape], InjectiveFlow],
        event_shape: Sequence[int] | int,
        context_shape: Sequence[int] | int | None = None,
        *,
        volume: Volume | None = None,
        reconstruction: Reconstruction | float = 50.0,
        warmup: tuple[int, int] = (0, 0),
        **options: Options[ModuleOptions],
    ) -> None:
        super().__init__(flow, event_shape, context_shape, **options)
        start, end = warmup
        if not 0 <= start <= end:
            raise ConfigError(f"warmup is {list(warmup)}; accepted are two epochs in order.")
        volume = ExactVolume() if volume is None else volume
        self.volume = part_of(volume, Volume, "volume", "ExactVolume()")
        if isinstance(reconstruction, int | float):
            reconstruction = Reconstruction(reconstruction)
        self.reconstruction = copy.deepcopy(
            part_of(reconstruction, Reconstruction, "reconstruction", "NoiseLevel(0.1)")
        )
        self.warmup = (start, end)
        self._reported = False
        self._failed: Tensor | float = 0.0  # counted on the device: nobody waits for it

    @property
    def beta(self) -> float:
        """Weight of the reconstruction at present."""
        return self.reconstruction.beta

    @property
    def scoring_beta(self) -> float:
        """Weight of the reconstruction in validation, test and `ambient_log_prob`: it is fixed."""
        return self.reconstruction.scoring_beta(
            size(self.event_shape) - size(self.flow.manifold_shape)
        )

    @property
    def likelihood_weight(self) -> float:
        """Weight w of the likelihood in the present epoch, between 0 and 1."""
        start, end = self.warmup
        if self.current_epoch >= end:
            return 1.0
        if self.current_epoch <= start:
            return 0.0
        return (self.current_epoch - start) / (end - start)

    def training_loss(self, x: Tensor, context: Tensor | None) -> tuple[Tensor, dict[str, Tensor]]:
        y = self.noisy(self.to_model_space(x)[0])
        w = self.likelihood_weight
        encode, decode = self.flow.project, self.flow.embed
        volume, named = (self.volume, self.named_penalties) if w > 0 else (NoVolume(), [])
        penalties = [penalty for _, penalty in named]
        embedded, values = volume_and_penalties(volume, penalties, encode, decode, y)
        failed = embedded.log_volume.detach().isnan()
        self._failed = self._failed + failed.sum()
        log_volume = torch.where(failed, 0.0, embedded.log_volume)
        reconstruction = sum_event((y - embedded.x_hat).square())
        # where all fail, the network itself is broken, and the loss shall show it
        lost = failed & ~failed.all() & ~reconstruction.detach().isfinite()
        reconstruction = torch.where(lost, 0.0, reconstruction)
        parts = {"reconstruction": reconstruction}
        if embedded.solution is not None:
            parts["cg/iterations"] = y.new_tensor(embedded.solution.iterations)
            residuals = embedded.solution.residuals
            parts["cg/residual"] = residuals.max() if len(y) else y.new_zeros(())
        elif volume.measures:
            parts["log_volume"] = embedded.log_volume.nanmean()
        # with w = 0 the prior still takes part, so no parameter is without a gradient under DDP
        negative = log_volume - self.flow.prior.log_prob(embedded.u, self.to_model_context(context))
        total, penalized = self.weighed(named, values)
        negative, parts = negative + total, parts | penalized
        if w > 0 and self.reconstruction.learned:  # else nothing that β could balance
            error = self.trainer.strategy.reduce(reconstruction.detach().mean(), reduce_op="mean")
            self.reconstruction.observe(torch.as_tensor(error))
        return w * negative + self.beta * reconstruction, parts

    def objective(
        self,
        y: Tensor,
        embedded: Embedded,
        log_prior: Tensor,
        reconstruction: Tensor,
        context: Tensor | None,
    ) -> Tensor:
        assert embedded.jacobian is not None
        loss = self.volume.objective(embedded.jacobian) - log_prior
        return self.penalized(loss, y, embedded) + self.scoring_beta * reconstruction

    @property
    def objective_constant(self) -> float:
        """Of residuals with variance 1/(2β) in the D - d directions off the manifold."""
        normal = size(self.event_shape) - size(self.flow.manifold_shape)
        return -0.5 * normal * math.log(self.scoring_beta / math.pi)

    def ambient_log_prob(self, x: Tensor, context: Tensor | None = None) -> Tensor:
        """Log-density of x in data space, residuals scored as Gaussian; see `InjectiveFlow`.

        Args:
            x: data in original units, (batch, *event_shape).
            context: (batch, *context_shape), or None.

        Returns:
            (batch,), nats.
        """
        y, contribution = self.to_model_space(x)
        context = self.to_model_context(context)
        return self.flow.ambient_log_prob(y, context, beta=self.scoring_beta) + contribution

    def on_train_epoch_end(self) -> None:
        if self.penalties or not isinstance(self.volume, NoVolume):
            failed, self._failed = self._failed, 0.0
            self.log("train/volume/failed", float(failed), reduce_fx="sum", sync_dist=True)
        if not self.reconstruction.learned:
            return
        self.log("train/beta", self.beta)
        stuck = self.reconstruction.stuck and self.current_epoch >= self.warmup[1]
        if stuck and not self._reported:
            self._reported = True
            rank_zero_warn(
                f"The reconstruction error does not come down to its target: β has reached "
                f"{self.beta:g}. Training goes on; a larger latent_features, an ambient flow that "
                "mixes columns, or a larger target would help."
            )

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        super().on_save_checkpoint(checkpoint)
        failed = torch.zeros((), device=self.device) + self._failed
        # ranks that are alive save together; after an exception, one of them may save alone
        if self._trainer is not None and not self.trainer.interrupted:
            failed = self.trainer.strategy.reduce(failed, reduce_op="sum")
        checkpoint["failed_volumes"] = failed.item()

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        super().on_load_checkpoint(checkpoint)
        first = self._trainer is None or self.trainer.is_global_zero
        self._failed = checkpoint.get("failed_volumes", 0.0) if first else 0.0
