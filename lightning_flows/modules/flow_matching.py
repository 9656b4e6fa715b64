"""Flow matching: vector fields trained by regression, without an equation being solved."""

from collections.abc import Sequence
from typing import Literal

import torch
from torch import Tensor

from lightning_flows.bases.base import Density
from lightning_flows.core.errors import ConfigError, check_least
from lightning_flows.core.noise import Placed, Reproducible, places_in_split, uniform_noise
from lightning_flows.core.shapes import sum_event
from lightning_flows.core.signatures import Options
from lightning_flows.flows import FieldFlow
from lightning_flows.modules.base import FlowFactory, ModuleOptions
from lightning_flows.modules.density import DensityModule

__all__ = ["FlowMatchingModule"]


class FlowMatchingModule(DensityModule):
    """Trains the vector field of a flow on straight paths from noise to data.

    With noise x₀, data x₁ and a time t, uniform on [0, 1], the loss is

        E‖v(x_t, t) - (x₁ - x₀)‖²,  x_t = (1 - t) x₀ + t x₁,

    whose minimum over all fields leads the noise to the data (Lipman et al. 2023, equation 14, with
    σ_min = 0; the option `noise`, the standard deviation that the data is smoothed with, has its
    place). Nothing is solved in training; samples and likelihoods solve the equation, `nll` in nats
    and bits per dimension as other modules log it, of as many rows as the options say. The loss is
    no likelihood, and is not zero at its minimum.

    Pairs (x₀, x₁) are independent, or within each batch those of least squared distance together
    (minibatch optimal transport, Tong et al. 2024; Pooladian et al. 2023): paths become straighter,
    so that fewer steps follow them. The losses of validation and test pair at random.

    Args:
        flow: makes a `ContinuousFlow` from the event shape.
        event_shape: shape of one data point.
        context_shape: shape of what the density is conditioned on.
        pairing: "independent", or "optimal" transport within each batch.
        likelihood_rows: at test log-densities are had of that many rows of the split, its first
            ones; None takes all.
        likelihood_rows_val: the same at validation.
        options: those of `FlowModule`; penalties differentiate through the equation's solution.

    Raises:
        ConfigError: the flow follows no field, a number is out of range, or optimal transport is
            asked for with context: it would pair noise with context, which is drawn without.
    """

    flow: FieldFlow

    def __init__(
        self,
        flow: FlowFactory,
        event_shape: Sequence[int] | int,
        context_shape: Sequence[int] | int | None = None,
        *,
        pairing: Literal["independent", "optimal"] = "independent",
        likelihood_rows: int | None = None,
        likelihood_rows_val: int | None = 1000,
        **options: Options[ModuleOptions],
    ) -> None:
        super().__init__(flow, event_shape, context_shape, **options)
        if pairing not in ("independent", "optimal"):
            raise ConfigError(f"pairing is {pairing!r}; accepted are 'independent' and 'optimal'.")
        if pairing == "optimal" and self.context_shape is not None:
            raise ConfigError(
                "pairing is 'optimal', and the model is conditioned on context; accepted is "
                "'independent', as pairs of the whole batch would make the noise depend on context."
            )
        check_least(0, likelihood_rows=likelihood_rows, likelihood_rows_val=likelihood_rows_val)
        self.pairing = pairing
        self.likelihood_rows = likelihood_rows
        self.likelihood_rows_val = likelihood_rows_val

    def check_flow(self, flow: Density) -> None:
        if not isinstance(flow, FieldFlow):
            raise ConfigError(
                f"{type(self).__name__} trains flows of a vector field, such as ContinuousFlow; "
                f"{type(flow).__name__} has none: use DensityModule."
            )

    @property
    def scores_draw(self) -> bool:
        return super().scores_draw or self.flow.transport.probes > 0

    def training_loss(self, x: Tensor, context: Tensor | None) -> tuple[Tensor, dict[str, Tensor]]:
        y = self.noisy(self.to_model_space(x)[0])
        loss = self._mismatch(y, context, paired=self.pairing == "optimal")
        return self._penalized(loss, y, context)

    def evaluate(self, x: Tensor, context: Tensor | None) -> dict[str, Tensor]:
        return self._evaluated(x, context, self.likelihood_rows_val)

    def evaluate_test(self, x: Tensor, context: Tensor | None) -> dict[str, Tensor]:
        return self._evaluated(x, context, self.likelihood_rows)

    def _mismatch(self, y: Tensor, context: Tensor | None, *, paired: bool = False) -> Tensor:
        """Squared error of the velocity at one time of each row of preprocessed data: (batch,)."""
        given = self.to_model_context(context)
        noise, target = self.flow.endpoints(y, given)
        if paired:
            noise = _nearest(noise, target)
        t = uniform_noise((len(y),), y)
        point = torch.lerp(noise, target, t.reshape(-1, *[1] * (noise.ndim - 1)))
        v: Tensor = self.flow.field(point, t, given)
        wide = torch.promote_types(v.dtype, torch.float32)
        return sum_event((v.to(wide) - (target - noise).to(wide)).square())

    def _evaluated(self, x: Tensor, context: Tensor | None, limit: int | None) -> dict[str, Tensor]:
        with Reproducible(x.float(), not self.training):
            y = self.to_model_space(x)[0]
            loss, _ = self._penalized(self._mismatch(y, context), y, context)
        places = places_in_split()
        if limit is None or places is None or bool((places < limit).all()):
            log_prob = self.log_prob(x, context)
            return {**self._named(log_prob), "loss": loss}
        scored = places < limit
        log_prob = torch.full_like(loss, torch.nan)
        with Placed(places[scored]):
            given = None if context is None else context[scored]
            log_prob[scored] = self.log_prob(x[scored], given).to(log_prob)
        return {**self._named(log_prob), "loss": loss, "unscored": ~scored}


def _nearest(noise: Tensor, data: Tensor) -> Tensor:
    """Rows of noise in the order that makes squared distances to the data least in sum.

    As they come where a distance is not finite.
    """
    from scipy.optimize import linear_sum_assignment

    cost = torch.cdist(data.flatten(1).float(), noise.flatten(1).float()).square()
    if not cost.isfinite().all():
        return noise
    _, order = linear_sum_assignment(cost.cpu().numpy())
    return noise[torch.as_tensor(order, device=noise.device)]
