"""Rectangular flows: a manifold and the density on it, learned jointly."""

from collections.abc import Callable, Sequence

import torch
from lightning.pytorch.cli import LRSchedulerCallable, OptimizerCallable
from torch import Tensor

from lightning_flows.errors import ConfigError
from lightning_flows.families.base import FlowModule
from lightning_flows.flows.injective import PaddedFlow
from lightning_flows.jacobians.volume import ExactVolume, Volume, log_volume
from lightning_flows.nets import MLP, MaskedMLP, ResidualMLP
from lightning_flows.recipe import build_part, is_recipe
from lightning_flows.shapes import Shape, sum_event

__all__ = ["RectangularFlow"]


class RectangularFlow(FlowModule):
    """Constrained maximum likelihood of an injective flow (Caterini et al. 2021, section 3).

    With y the preprocessed data, u = project(y), and J the Jacobian of `embed` at u, the loss is

        w·(-log p_prior(u) + ½ log det JᵀJ) + β·‖y - embed(u)‖².

    Logs `nll` (nats, on the manifold, in the units of the data), `reconstruction` (squared error
    summed over the entries of y), `log_volume` and the loss.

    Args:
        flow: makes the injective flow from the event shape.
        event_shape: shape of one data point.
        context_shape: shape of what the density on the manifold is conditioned on.
        volume: how the gradient of the volume is computed; `ExactVolume` unless given.
        beta: weight β of the reconstruction; 1 / (2 σ²) for residuals of standard deviation σ.
        warmup: epochs between which the weight w of the likelihood rises from 0 to 1; until the
            first of them the volume is not computed.
        optimizer: makes the optimizer from the parameters; fused Adam with learning rate 1e-3
            unless given.
        scheduler: makes the learning rate scheduler from the optimizer; stepped every epoch.
        compile: whether the networks are compiled with `torch.compile`.

    Raises:
        ConfigError: β is not positive, or the warm-up ends before it starts.
    """

    flow: PaddedFlow

    def __init__(
        self,
        flow: Callable[[Shape], PaddedFlow],
        event_shape: Sequence[int] | int,
        context_shape: Sequence[int] | int | None = None,
        *,
        volume: Volume | None = None,
        beta: float = 50.0,
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
        if not beta > 0:
            raise ConfigError(f"beta is {beta}; accepted are positive numbers.")
        start, end = warmup
        if not 0 <= start <= end:
            raise ConfigError(f"warmup is {list(warmup)}; accepted are two epochs in order.")
        self.volume: Volume = build_part(volume) if is_recipe(volume) else volume or ExactVolume()
        self.beta = beta
        self.warmup = (start, end)

    @property
    def likelihood_weight(self) -> float:
        """Weight w of the likelihood in the present epoch, between 0 and 1."""
        start, end = self.warmup
        if self.current_epoch >= end:
            return 1.0
        return max(0.0, (self.current_epoch - start) / (end - start))

    def training_loss(self, x: Tensor, context: Tensor | None) -> tuple[Tensor, dict[str, Tensor]]:
        y, _ = self.to_model_space(x)
        u = self.flow.project(y)
        w = self.likelihood_weight
        if w > 0:
            y_hat, volume = self.volume(self.flow.embed, u)
        else:
            y_hat, volume = self.flow.embed(u), torch.zeros_like(u[:, 0])
        reconstruction = sum_event((y - y_hat).square())
        # with w = 0 the prior still takes part, so no parameter is without a gradient under DDP
        log_prob = self.flow.prior.log_prob(u, context)
        loss = w * (volume - log_prob) + self.beta * reconstruction
        return loss, {"reconstruction": reconstruction, "log_volume": volume}

    def evaluate(self, x: Tensor, context: Tensor | None) -> dict[str, Tensor]:
        y, _ = self.to_model_space(x)
        u = self.flow.project(y)
        log_prior = self.flow.prior.log_prob(u, context)
        volume = log_volume(self._embed_in_data, u)
        reconstruction = sum_event((y - self.flow.embed(u)).square())
        nll = volume - log_prior
        return {
            "nll": nll,
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

    def reconstruct(self, x: Tensor, context: Tensor | None = None) -> Tensor:
        """Projections of data onto the manifold, in original units: (batch, *event_shape)."""
        return self._embed_in_data(self.flow.project(self.to_model_space(x)[0]))

    def compile_parts(self) -> None:
        for module in (*self.flow.ambient.modules(), *self.flow.prior.modules()):
            if isinstance(module, MLP | ResidualMLP | MaskedMLP):
                module.compile()

    def _embed_in_data(self, u: Tensor) -> Tensor:
        return self.from_model_space(self.flow.embed(u))
