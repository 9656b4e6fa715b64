"""The baseline: a manifold first, the density on it second."""

from collections.abc import Callable, Sequence

import torch
from lightning.pytorch.trainer.states import TrainerFn
from torch import Tensor

from lightning_flows.core.errors import ConfigError, check_least
from lightning_flows.core.shapes import Shape, sum_event
from lightning_flows.core.signatures import Options
from lightning_flows.flows.injective import InjectiveFlow
from lightning_flows.modules.base import ModuleOptions
from lightning_flows.modules.injective import InjectiveModule
from lightning_flows.objectives import Embedded, NoVolume, Reconstruction, volume_and_penalties

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
        reconstruction: the weight β of residuals in the first step and in `ambient_nll`, a number
            or a `NoiseLevel`.
        options: those of `FlowModule`; penalties belong to the first step.

    Raises:
        ConfigError: an option is out of range, or β would be learned.
    """

    def __init__(
        self,
        flow: Callable[[Shape], InjectiveFlow],
        event_shape: Sequence[int] | int,
        context_shape: Sequence[int] | int | None = None,
        *,
        manifold_epochs: int = 50,
        reconstruction: Reconstruction | float = 50.0,
        **options: Options[ModuleOptions],
    ) -> None:
        super().__init__(
            flow,
            event_shape,
            context_shape,
            volume=NoVolume(),
            reconstruction=reconstruction,
            **options,
        )
        if self.reconstruction.learned:
            raise ConfigError(
                f"reconstruction is {type(self.reconstruction).__name__}, which learns β beside a "
                "likelihood, and the first step has none; accepted are numbers and NoiseLevel."
            )
        check_least(1, manifold_epochs=manifold_epochs)
        self.manifold_epochs = manifold_epochs

    @property
    def learns_manifold(self) -> bool:
        """Whether the present epoch belongs to the first step."""
        return self.current_epoch < self.manifold_epochs

    def training_loss(self, x: Tensor, context: Tensor | None) -> tuple[Tensor, dict[str, Tensor]]:
        y = self.noisy(self.to_model_space(x)[0])
        w = 0.0 if self.learns_manifold else 1.0
        named = self.named_penalties if self.learns_manifold else []
        penalties = [penalty for _, penalty in named]
        embedded, values = volume_and_penalties(
            NoVolume(), penalties, self.flow.project, self.flow.embed, y
        )
        reconstruction = sum_event((y - embedded.x_hat).square())
        log_prior = self.flow.prior.log_prob(embedded.u.detach(), self.to_model_context(context))
        parts = {"reconstruction": reconstruction, "nll_prior": -log_prior}
        loss = (1 - w) * self.beta * reconstruction - w * log_prior
        total, penalized = self.weighed(named, values)
        return loss + total, parts | penalized

    def objective(
        self,
        y: Tensor,
        embedded: Embedded,
        log_prior: Tensor,
        reconstruction: Tensor,
        context: Tensor | None,
    ) -> Tensor:
        fitting = self._trainer is not None and self.trainer.state.fn == TrainerFn.FITTING
        if fitting and self.learns_manifold:
            loss = self.beta * reconstruction + UNLEARNED * embedded.u.shape[1]
            return self.penalized(loss, y, embedded)
        return -log_prior

    def on_before_optimizer_step(self, optimizer: torch.optim.Optimizer) -> None:
        prior = set(self.flow.prior.parameters())
        for parameter in self.flow.parameters():
            if (parameter in prior) == self.learns_manifold:
                parameter.grad = None
