"""Free-form injective flows trained by a bound on a density that is normalized in data space."""

import copy
import math
from collections.abc import Callable, Sequence

import torch
from torch import Tensor
from torch.nn import Parameter

from lightning_flows.core.errors import ConfigError
from lightning_flows.core.noise import Reproducible
from lightning_flows.core.shapes import Shape, size, sum_event
from lightning_flows.core.signatures import Options
from lightning_flows.flows.injective import InjectiveFlow
from lightning_flows.modules.arguments import part_of
from lightning_flows.modules.base import ModuleOptions
from lightning_flows.modules.manifold import ManifoldModule
from lightning_flows.objectives import (
    Embedded,
    ImpliedPosterior,
    LearnedScale,
    NoVolume,
    Scale,
    volume_and_penalties,
)
from lightning_flows.objectives.posterior import Drawn

__all__ = ["VariationalModule"]


class VariationalModule(ManifoldModule):
    """Trains any encoder f and decoder g by an evidence lower bound.

    The model is z ~ p_prior, y | z ~ N(g(z), σ²I); the posterior is the one that the encoder
    implies, q(z | y) = N(f(y), σ² f'f'ᵀ) (`ImpliedPosterior`). The loss is

        E‖y - g(z)‖²/(2σ²) + (D/2) log 2πσ² - E log p_prior(z) - ½ log det(2πe σ² f'f'ᵀ),

    with one draw z for each sample. It is at least -log p(y) ≥ (D/2) log 2πσ² at every point and
    for all parameters, so nothing diverges while σ has a floor. With a standard normal prior its
    third term contains ½σ²‖f'‖²_F, the Tikhonov term of Feinman and Parthasarathy (2019) with
    α = σ²/2. The equivalence of free-form injective flows and such autoencoders is stated in
    arXiv 2506.01522.

    Logs what `ManifoldModule` does, with `ambient_elbo` (nats in data space, one draw) in place of
    `ambient_nll`; in training also `scale` (σ), `reconstruction` (squared error of draws) and
    `posterior/failed`, the share of samples whose f' is not of full rank: the entropy of their
    posterior counts as zero, without a gradient.

    Args:
        flow: makes the injective flow from the event shape.
        event_shape: shape of one data point.
        context_shape: shape of what the density on the manifold is conditioned on.
        scale: the standard deviation σ of residuals, a number or a part: `LearnedScale` (the
            default, with a floor of 0.01) or `AnnealedScale`.
        posterior: how the gradient of the posterior's entropy is computed; exact by default.
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
        scale: Scale | float | None = None,
        posterior: ImpliedPosterior | None = None,
        **options: Options[ModuleOptions],
    ) -> None:
        super().__init__(flow, event_shape, context_shape, **options)
        scale = LearnedScale() if scale is None else scale
        scale = Scale(scale) if isinstance(scale, int | float) else scale
        self.scale = copy.deepcopy(part_of(scale, Scale, "scale", "LearnedScale()"))
        if self.scale().numel() != 1:
            raise ConfigError(
                f"scale has {self.scale().numel()} coordinates; accepted is 1: the posterior is "
                "that of one noise level."
            )
        posterior = ImpliedPosterior() if posterior is None else posterior
        self.posterior = part_of(posterior, ImpliedPosterior, "posterior", "ImpliedPosterior()")

    @property
    def scores_draw(self) -> bool:
        return True

    def training_loss(self, x: Tensor, context: Tensor | None) -> tuple[Tensor, dict[str, Tensor]]:
        y = self.noisy(self.to_model_space(x)[0])
        encode, decode, sigma = self.flow.project, self.flow.embed, self.scale()
        drawn = self.posterior.steer(encode, decode, y, sigma)
        failed = drawn.entropy.detach().isnan()
        drawn = drawn._replace(entropy=torch.where(failed, 0.0, drawn.entropy))
        loss = self._negative_elbo(y, drawn, sigma, self.to_model_context(context))
        parts = {
            "scale": sigma.mean(),
            "reconstruction": sum_event((y - drawn.x_hat).square()),
            "posterior/failed": failed.to(y.dtype),
        }
        if not self.penalties:
            return loss, parts
        named = self.named_penalties
        penalties = [penalty for _, penalty in named]
        _, values = volume_and_penalties(NoVolume(), penalties, encode, decode, y)
        total, penalized = self.weighed(named, values)
        return loss + total, parts | penalized

    def evaluate(self, x: Tensor, context: Tensor | None) -> dict[str, Tensor]:
        values = super().evaluate(x, context)
        elbo = -values.pop("ambient_nll")
        return {**values, "ambient_elbo": elbo}

    def objective(
        self,
        y: Tensor,
        embedded: Embedded,
        log_prior: Tensor,
        reconstruction: Tensor,
        context: Tensor | None,
    ) -> Tensor:
        return self.penalized(self._score(y, context), y, embedded)

    def ambient_log_prob(self, x: Tensor, context: Tensor | None = None) -> Tensor:
        """Lower bound of log p(x) in data space, of one draw of the posterior.

        In evaluation mode the draw is a hash of each row and of how often it stands in x before.

        Args:
            x: data in original units, (batch, *event_shape).
            context: (batch, *context_shape), or None.

        Returns:
            (batch,), nats.
        """
        with Reproducible(x.float(), not self.training):
            y, contribution = self.to_model_space(x)
            return contribution - self._score(y, self.to_model_context(context))

    def _score(self, y: Tensor, context: Tensor | None) -> Tensor:
        sigma = self.scale.scoring()
        drawn = self.posterior(self.flow.project, self.flow.embed, y, sigma)
        return self._negative_elbo(y, drawn, sigma, context)

    def _negative_elbo(
        self, y: Tensor, drawn: Drawn, sigma: Tensor, context: Tensor | None
    ) -> Tensor:
        error = sum_event((y - drawn.x_hat).square()) / (2 * sigma.square())
        normal = size(self.event_shape) * (sigma.log() + 0.5 * math.log(2 * math.pi))
        return error + normal - self.flow.prior.log_prob(drawn.z, context) - drawn.entropy

    def trained_parameters(self) -> list[Parameter]:
        return [*super().trained_parameters(), *self.scale.parameters()]

    def on_train_epoch_start(self) -> None:
        super().on_train_epoch_start()
        self.scale.start_epoch(self.current_epoch)
