"""The baseline: a manifold first, the density on it second."""

from collections.abc import Callable, Sequence

import torch
from lightning.pytorch.cli import LRSchedulerCallable, OptimizerCallable
from lightning.pytorch.trainer.states import TrainerFn
from torch import Tensor

from lightning_flows.core.errors import check_least
from lightning_flows.core.shapes import Shape, sum_event
from lightning_flows.flows.injective import InjectiveFlow
from lightning_flows.modules.injective import InjectiveModule
from lightning_flows.objectives import Embedded, NoVolume

__all__ = ["TwoStepModule"]

UNLEARNED = 100.0  # nats for each latent: more than a density that is learned ever costs


class TwoStepModule(InjectiveModule):
    """Learns an autoencoder for some epochs, then the density of its latents.

    The baseline that every joint method must beat: nothing pulls the manifold towards coordinates
    in which the density is simple. The step follows from the epoch, so a run is resumed in
    either of them. In the second step the manifold does not move: its parameters take part with
    weight zero, for DDP, and the optimizer passes over them.

    Training logs `reconstruction` and `nll_prior` (nats, of the coordinates u alone); validation
    and test log what `InjectiveModule` does. `val/loss` is the objective of the step: in the
    second -log p_prior(u), in the first β·‖y - embed(u)‖² and 100 nats for each latent on top, so
    that no epoch in which the density has not been learned counts as the best one. Outside of
    `fit` the loss is that of the second step.

    Args:
        flow: makes the injective flow from the event shape.
        event_shape: shape of one data point.
        context_shape: shape of what the density on the manifold is conditioned on.
        manifold_epochs: epochs of the first step; the rest of the training is the second.
        beta: weight β of residuals in the first step and in `ambient_nll`.
        noise: standard deviation of Gaussian noise on preprocessed training data.
        optimizer: makes the optimizer from the parameters; Adam with learning rate 1e-3 unless
            given, fused but where gradients are clipped in mixed precision.
        scheduler: makes the learning rate scheduler from the optimizer; stepped every epoch.
        compile: whether the networks are compiled with `torch.compile`.
        data_key: name of the data in a batch that is a mapping; callbacks ask for it, too.
        context_key: name of the context in such a batch.

    Raises:
        ConfigError: an option is out of range.
    """

    def __init__(
        self,
        flow: Callable[[Shape], InjectiveFlow],
        event_shape: Sequence[int] | int,
        context_shape: Sequence[int] | int | None = None,
        *,
        manifold_epochs: int = 50,
        beta: float = 50.0,
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
            volume=NoVolume(),
            beta=beta,
            noise=noise,
            optimizer=optimizer,
            scheduler=scheduler,
            compile=compile,
            data_key=data_key,
            context_key=context_key,
        )
        check_least(1, manifold_epochs=manifold_epochs)
        self.manifold_epochs = manifold_epochs

    @property
    def learns_manifold(self) -> bool:
        """Whether the present epoch belongs to the first step."""
        return self.current_epoch < self.manifold_epochs

    def training_loss(self, x: Tensor, context: Tensor | None) -> tuple[Tensor, dict[str, Tensor]]:
        y, _ = self.to_model_space(x)
        if self.noise:
            y = y + self.noise * torch.randn_like(y)
        u = self.flow.project(y)
        reconstruction = sum_event((y - self.flow.embed(u)).square())
        log_prior = self.flow.prior.log_prob(u.detach(), self._given(context))
        w = 0.0 if self.learns_manifold else 1.0
        loss = (1 - w) * self.beta * reconstruction - w * log_prior
        return loss, {"reconstruction": reconstruction, "nll_prior": -log_prior}

    def objective(
        self, y: Tensor, embedded: Embedded, log_prior: Tensor, reconstruction: Tensor
    ) -> Tensor:
        fitting = self._trainer is not None and self.trainer.state.fn == TrainerFn.FITTING
        if fitting and self.learns_manifold:
            return self.beta * reconstruction + UNLEARNED * embedded.u.shape[1]
        return -log_prior

    def on_before_optimizer_step(self, optimizer: torch.optim.Optimizer) -> None:
        prior = set(self.flow.prior.parameters())
        for parameter in self.flow.parameters():
            if (parameter in prior) == self.learns_manifold:
                parameter.grad = None
