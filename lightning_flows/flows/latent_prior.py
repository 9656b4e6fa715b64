"""A flow whose prior is learned from low-dimensional noise."""

from collections.abc import Callable, Sequence

from lightning_flows.bases.given import DensityFactory
from lightning_flows.core.errors import ShapeError, check_least
from lightning_flows.core.shapes import Shape, as_shape, size
from lightning_flows.flows.assemble import BaseFactory
from lightning_flows.flows.base import Flow
from lightning_flows.flows.coupling import RealNVP
from lightning_flows.transforms import Chain, VAELayer

__all__ = ["LatentPriorFlow"]


class LatentPriorFlow(Flow):
    """A bijection of data space whose latent is generated from noise of few dimensions.

    x ↔ y is a bijection as in any flow; y ~ p(y | ε) with ε of dimension d takes the place of a
    normal y (Dimensionality Reduction Flows, Das et al. 2019, first version). With q(ε | y) the
    log-likelihood has the lower bound

        log|det ∂y/∂x| + E[log p(y | ε) + log p(ε) - log q(ε | y)],

    so `exact` is false. `encode` draws ε, (batch, d).

    Args:
        event_shape: shape of one data point.
        latent_features: number d of dimensions of the noise.
        ambient: makes the flow whose transform is the bijection; RealNVP by default.
        encoder: makes the density q of the noise given y; a `ConditionalNormal` by default.
        decoder: makes the density p of y given the noise; a `ConditionalNormal` by default.
        prior: makes the density of the noise from its shape; standard normal by default.
        context_shape: shape of what the density is conditioned on.

    Raises:
        ConfigError: `latent_features` is not positive.
        ShapeError: the ambient flow is no bijection of data space.
    """

    def __init__(
        self,
        event_shape: Sequence[int] | int,
        *,
        latent_features: int = 2,
        ambient: Callable[[Shape], Flow] | None = None,
        encoder: DensityFactory | None = None,
        decoder: DensityFactory | None = None,
        prior: BaseFactory | None = None,
        context_shape: Sequence[int] | int | None = None,
    ) -> None:
        check_least(1, latent_features=latent_features)
        shape = as_shape(event_shape)
        conditioned = {} if context_shape is None else {"context_shape": as_shape(context_shape)}
        bijection = (RealNVP if ambient is None else ambient)(shape, **conditioned).transform
        if bijection.kind != "bijection" or size(bijection.latent_shape) != size(shape):
            raise ShapeError(f"ambient must be a bijection of {size(shape)} dimensions.")
        layer = VAELayer(
            bijection.latent_shape,
            latent_features,
            encoder=encoder,
            decoder=decoder,
            context_shape=context_shape,
        )
        super().__init__(
            Chain([bijection, layer]), None if prior is None else prior((latent_features,))
        )
