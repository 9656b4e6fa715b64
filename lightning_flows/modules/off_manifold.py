"""Injective flows trained by the exact likelihood of on- and off-manifold coordinates."""

from collections.abc import Callable, Sequence

from torch import Tensor

from lightning_flows.bases.base import Density
from lightning_flows.core.errors import check_from_zero
from lightning_flows.core.shapes import Shape, size, sum_event
from lightning_flows.core.signatures import Options
from lightning_flows.flows.injective import PaddedFlow
from lightning_flows.modules.arguments import require_padded
from lightning_flows.modules.bounded import BoundedModule, BoundedOptions
from lightning_flows.objectives import (
    Embedded,
    NoVolume,
    volume_and_penalties,
)

__all__ = ["OffManifoldModule"]


class OffManifoldModule(BoundedModule):
    """Trains a `PaddedFlow` by a density that is normalized in data space.

    With (u, v) the coordinates of preprocessed data y on and off the manifold, τ a scale and w the
    weight `reconstruction`, the loss is

        -log q(y) + w·‖y - embed(u)‖²,   q(y) = p_prior(u)·N(v; 0, τ²I)·|det ∂(u, v)/∂y|.

    q has mass 1 for all parameters, so the expected loss on data that was not trained on is at
    least the data's differential entropy (Gibbs' inequality), whatever the networks do; a finite
    training set may still be memorized, as by every flow. One pass through the bijection gives it:
    no product with a Jacobian is computed. Validation, test and `log_prob` report the density on
    the manifold, v = 0, as every module on a manifold does (deflation; Horvat and Pfister 2021).

    The likelihood alone does not say which coordinates are the manifold: a bijection may score
    the same q with any of them in u. Where τ is smaller than what spreads along the manifold, or
    with w > 0, it is where residuals are small.

    Logs what `ManifoldModule` does, where `ambient_nll` is -log q exactly, `scale` (the mean of
    τ) in training, and `reconstruction` and `penalty/<name>` where they are in the loss.

    Args:
        flow: makes the PaddedFlow from the event shape.
        event_shape: shape of one data point.
        context_shape: shape of what the density on the manifold is conditioned on.
        reconstruction: weight w of the squared error. Above zero it keeps the manifold at the
            data, and costs a pass through the inverse.
        options: those of `BoundedModule`: `scale` is τ, one number or one for each coordinate off
            the manifold.

    Raises:
        ConfigError: an option is out of range, or the flow is no PaddedFlow.
    """

    flow: PaddedFlow

    def __init__(
        self,
        flow: Callable[[Shape], PaddedFlow],
        event_shape: Sequence[int] | int,
        context_shape: Sequence[int] | int | None = None,
        *,
        reconstruction: float = 0.0,
        **options: Options[BoundedOptions],
    ) -> None:
        super().__init__(flow, event_shape, context_shape, **options)
        check_from_zero(reconstruction=reconstruction)
        self.reconstruction = reconstruction

    @property
    def coordinates(self) -> set[int]:
        return {1, size(self.event_shape) - size(self.flow.manifold_shape)}

    def check_flow(self, flow: Density) -> None:
        super().check_flow(flow)
        require_padded(self, flow)

    def training_loss(self, x: Tensor, context: Tensor | None) -> tuple[Tensor, dict[str, Tensor]]:
        y = self.noisy(self.to_model_space(x)[0])
        given = self.to_model_context(context)
        loss = -self.flow.off_manifold_log_prob(y, given, scale=self.scale())
        parts = {"scale": self.scale().mean()}
        if self.reconstruction or self.penalties:
            named = self.named_penalties
            penalties = [penalty for _, penalty in named]
            embedded, values = volume_and_penalties(
                NoVolume(), penalties, self.flow.project, self.flow.embed, y
            )
            error = sum_event((y - embedded.x_hat).square())
            total, penalized = self.weighed(named, values)
            loss = loss + total + self.reconstruction * error
            parts |= {"reconstruction": error, **penalized}
        return loss, parts

    def negative_log(self, y: Tensor, context: Tensor | None) -> Tensor:
        return -self.flow.off_manifold_log_prob(y, context, scale=self.scale.scoring())

    def objective(
        self,
        y: Tensor,
        embedded: Embedded,
        log_prior: Tensor,
        reconstruction: Tensor,
        context: Tensor | None,
    ) -> Tensor:
        loss = super().objective(y, embedded, log_prior, reconstruction, context)
        return loss + self.reconstruction * reconstruction
