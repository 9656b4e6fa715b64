"""Free-form injective flows trained by a bound on a density that is normalized in data space."""

import copy
import math
from collections.abc import Callable, Sequence

import torch
from torch import Tensor
from torch.nn import Parameter

from lightning_flows.core.shapes import Shape, size, sum_event
from lightning_flows.core.signatures import Options
from lightning_flows.flows.injective import InjectiveFlow
from lightning_flows.modules.arguments import part_of
from lightning_flows.modules.bounded import BoundedModule, BoundedOptions
from lightning_flows.objectives import (
    ImpliedPosterior,
    NoVolume,
    Posterior,
    volume_and_penalties,
)
from lightning_flows.objectives.posterior import Drawn

__all__ = ["VariationalModule"]


class VariationalModule(BoundedModule):
    """Trains any encoder f and decoder g by an evidence lower bound.

    The model is z ~ p_prior, y | z ~ N(g(z), σ²I); the posterior q(z | y) is normal with mean
    f(y) and the covariance that the encoder implies, σ² f'f'ᵀ (`ImpliedPosterior`), or a diagonal
    one (`DiagonalPosterior`). With H its entropy, ½ log det(2πe σ² f'f'ᵀ) for the former, the
    loss is

        E‖y - g(z)‖²/(2σ²) + (D/2) log 2πσ² - E log p_prior(z) - H,

    with one draw z for each sample. It is at least -log p(y) ≥ (D/2) log 2πσ² at every point and
    for all parameters, so nothing diverges while σ has a floor. With a standard normal prior and
    the implied covariance its third term contains ½σ²‖f'‖²_F, the Tikhonov term of Feinman and
    Parthasarathy (2019) with α = σ²/2. The equivalence of free-form injective flows and such
    autoencoders is stated in arXiv 2506.01522.

    Logs what `ManifoldModule` does, with `ambient_elbo` (nats in data space, one draw) in place of
    `ambient_nll`; in training also `scale` (σ), `reconstruction` (squared error of draws) and
    `posterior/failed`, the share of samples whose f' is not of full rank: the entropy of their
    posterior counts as zero, without a gradient.

    Args:
        flow: makes the injective flow from the event shape.
        event_shape: shape of one data point.
        context_shape: shape of what the density on the manifold is conditioned on.
        posterior: the implied one with the exact gradient of its entropy by default.
        options: those of `BoundedModule`: `scale` is σ, one number.

    Raises:
        ConfigError: an option is out of range, or the flow is not one on a manifold.
    """

    def __init__(
        self,
        flow: Callable[[Shape], InjectiveFlow],
        event_shape: Sequence[int] | int,
        context_shape: Sequence[int] | int | None = None,
        *,
        posterior: Posterior | None = None,
        **options: Options[BoundedOptions],
    ) -> None:
        super().__init__(flow, event_shape, context_shape, **options)
        posterior = ImpliedPosterior() if posterior is None else posterior
        example = "ImpliedPosterior()"
        self.posterior = copy.deepcopy(part_of(posterior, Posterior, "posterior", example))
        self.posterior.build(size(self.event_shape), size(self.flow.manifold_shape))

    @property
    def scores_draw(self) -> bool:
        return True

    def trained_parameters(self) -> list[Parameter]:
        return [*super().trained_parameters(), *self.posterior.parameters()]

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

    def negative_log(self, y: Tensor, context: Tensor | None) -> Tensor:
        sigma = self.scale.scoring()
        drawn = self.posterior(self.flow.project, self.flow.embed, y, sigma)
        return self._negative_elbo(y, drawn, sigma, context)

    def _negative_elbo(
        self, y: Tensor, drawn: Drawn, sigma: Tensor, context: Tensor | None
    ) -> Tensor:
        error = sum_event((y - drawn.x_hat).square()) / (2 * sigma.square())
        normal = size(self.event_shape) * (sigma.log() + 0.5 * math.log(2 * math.pi))
        return error + normal - self.flow.prior.log_prob(drawn.z, context) - drawn.entropy
