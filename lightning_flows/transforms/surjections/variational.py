"""The layer of a variational autoencoder."""

from collections.abc import Sequence

from torch import Tensor

from lightning_flows.bases.base import Density
from lightning_flows.bases.conditional import ConditionalNormal
from lightning_flows.bases.given import DensityFactory, DensityGiven
from lightning_flows.core.noise import Reproducible
from lightning_flows.transforms.base import Transform

__all__ = ["VAELayer"]


class VAELayer(Transform):
    """z ~ q(z | x) and x ~ p(x | z), of any two shapes (Kingma and Welling 2014).

    A stochastic map, so the likelihood is a lower bound, the ELBO. The contribution is
    log p(x | z) - log q(z | x).

    Args:
        event_shape: shape of one data point.
        latent_shape: shape of one latent.
        encoder: density q of latents given data, or a factory; a `ConditionalNormal` by
            default.
        decoder: density p of data given latents, or a factory; a `ConditionalNormal` by
            default.
        context_shape: shape of what both depend on besides.
    """

    def __init__(
        self,
        event_shape: Sequence[int] | int,
        latent_shape: Sequence[int] | int,
        *,
        encoder: Density | DensityFactory | None = None,
        decoder: Density | DensityFactory | None = None,
        context_shape: Sequence[int] | int | None = None,
    ) -> None:
        super().__init__(event_shape, latent_shape, context_shape=context_shape, kind="stochastic")
        x, z = self.event_shape, self.latent_shape
        self.encoder = DensityGiven(
            encoder or ConditionalNormal, z, x, self.context_shape, support=None
        )
        self.decoder = DensityGiven(
            decoder or ConditionalNormal, x, z, self.context_shape, support=None
        )
        self.domain = self.decoder.density.support
        self.codomain = self.encoder.density.support

    def encode(self, x: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        with Reproducible(x, not self.training):
            z, log_q = self.encoder.draw(x, context)
        return z, self.decoder.score(x, z, context) - log_q

    def decode(self, z: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        x, log_p = self.decoder.draw(z, context)
        return x, log_p - self.encoder.score(z, x, context)
