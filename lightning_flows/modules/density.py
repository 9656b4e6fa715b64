"""Maximum likelihood for flows of full dimension."""

from collections.abc import Sequence

import torch
from lightning.pytorch.cli import LRSchedulerCallable, OptimizerCallable
from torch import Tensor

from lightning_flows.core.errors import check_from_zero, check_least
from lightning_flows.core.noise import Reproducible
from lightning_flows.modules.arguments import refuse_manifold
from lightning_flows.modules.base import FlowFactory, FlowModule
from lightning_flows.objectives import squared_norm

__all__ = ["DensityModule"]


class DensityModule(FlowModule):
    """Trains a flow on the negative log-likelihood of data in its original units.

    Logs `train/loss`, `val/nll` and `test/nll` in nats, and bits per dimension where the
    preprocessing dequantizes integers. Where the flow gives a lower bound only, `elbo`, the bound
    itself, takes the place of `nll`. The losses of validation and test contain the penalty as that
    of training does, with random probes that are a hash of the data; noise is for training only.

    Args:
        flow: makes the flow from the event shape: RealNVP, NICE, NeuralSplineFlow, MAF, …
        event_shape: shape of one data point.
        context_shape: shape of what the density is conditioned on.
        tikhonov: weight α of the penalty α·E‖∂z/∂y‖² on preprocessed data y: no direction of the
            density becomes thinner than √(2α), and the likelihood has a floor (Feinman and
            Parthasarathy 2019).
        probes: random directions in the penalty's estimate for each sample; None is exact.
        noise: standard deviation of Gaussian noise on preprocessed training data, in its units;
            equivalent to tikhonov = noise²/2.
        optimizer: makes the optimizer from the parameters; Adam with learning rate 1e-3 unless
            given, fused but where gradients are clipped in mixed precision.
        scheduler: makes the learning rate scheduler from the optimizer; stepped every epoch.
        compile: whether the networks are compiled with `torch.compile`.
        data_key: name of the data in a batch that is a mapping; callbacks ask for it, too.
        context_key: name of the context in such a batch.

    Raises:
        ConfigError: a negative option, no probe, or a flow on a manifold.
    """

    def __init__(
        self,
        flow: FlowFactory,
        event_shape: Sequence[int] | int,
        context_shape: Sequence[int] | int | None = None,
        *,
        tikhonov: float = 0.0,
        probes: int | None = 1,
        noise: float = 0.0,
        optimizer: OptimizerCallable | None = None,
        scheduler: LRSchedulerCallable | None = None,
        compile: bool = False,
        data_key: str = "x",
        context_key: str = "context",
    ) -> None:
        super().__init__(
            flow,
            event_shape,
            context_shape,
            optimizer=optimizer,
            scheduler=scheduler,
            compile=compile,
            data_key=data_key,
            context_key=context_key,
        )
        refuse_manifold(self, self.flow)
        check_from_zero(tikhonov=tikhonov, noise=noise)
        check_least(1, probes=probes)
        self.tikhonov = tikhonov
        self.probes = probes
        self.noise = noise

    def training_loss(self, x: Tensor, context: Tensor | None) -> tuple[Tensor, dict[str, Tensor]]:
        y, contribution = self.to_model_space(x)
        if self.noise:
            y = y + self.noise * torch.randn_like(y)
        loss = -(self.flow.log_prob(y, self._given(context)) + contribution)
        if not self.tikhonov:
            return loss, {}
        penalty = self._penalty(y, context)
        return loss + self.tikhonov * penalty, {"penalty/tikhonov": penalty}

    def evaluate(self, x: Tensor, context: Tensor | None) -> dict[str, Tensor]:
        return self._scored(self.log_prob(x, context), x, context)

    def _scored(self, log_prob: Tensor, x: Tensor, context: Tensor | None) -> dict[str, Tensor]:
        """What is reported of a log-density (batch,), and the loss; probes hash the data."""
        named = {"nll": -log_prob} if self.exact else {"elbo": log_prob}
        loss = -log_prob
        if self.tikhonov:
            with Reproducible(x.float(), not self.training):
                loss = loss + self.tikhonov * self._penalty(self.to_model_space(x)[0], context)
        return {**named, "loss": loss}

    def _penalty(self, y: Tensor, context: Tensor | None) -> Tensor:
        """‖∂z/∂y‖² of preprocessed data, (batch,)."""
        given = self._given(context)
        return squared_norm(lambda y: self.flow.encode(y, given), y, probes=self.probes)
