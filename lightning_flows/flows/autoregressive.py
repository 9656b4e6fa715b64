"""Flows made of affine autoregressive layers."""

from collections.abc import Sequence

from lightning_flows.flows.assemble import BaseFactory, Mixing, assemble
from lightning_flows.flows.base import Flow
from lightning_flows.transforms import AffineAutoregressive, Transform

__all__ = ["MAF"]


class MAF(Flow):
    """Masked autoregressive flow (Papamakarios et al. 2017).

    `log_prob` costs one pass; sampling walks through the dimensions, one after the other. Events
    of more than one dimension are flattened; so are latents.

    Args:
        event_shape: shape of one data point.
        layers: number of autoregressive layers, with the order of dimensions reversed in turn.
        hidden: width of each hidden layer of the masked networks.
        activation: relu, silu, tanh, gelu, elu or softplus.
        bound: largest absolute log-scale of one layer.
        mixing: none, permutation or lu, as in `RealNVP`.
        actnorm: whether an ActNorm stands before every layer; `initialize`, which modules
            call, sets it from the first batch.
        base: makes the base density from the latent shape; standard normal unless given.
        context_shape: shape of what the density is conditioned on.

    Raises:
        ConfigError: an option is out of range.
    """

    def __init__(
        self,
        event_shape: Sequence[int] | int,
        *,
        layers: int = 5,
        hidden: Sequence[int] = (128, 128),
        activation: str = "relu",
        bound: float = 3.0,
        mixing: Mixing = "none",
        actnorm: bool = False,
        base: BaseFactory | None = None,
        context_shape: Sequence[int] | int | None = None,
    ) -> None:
        def layer(features: int, i: int) -> Transform:
            return AffineAutoregressive(
                features,
                bound=bound,
                hidden=hidden,
                activation=activation,
                reverse=i % 2 == 1,
                context_shape=context_shape,
            )

        transform = assemble(event_shape, layers, layer, mixing=mixing, actnorm=actnorm)
        super().__init__(transform, None if base is None else base(transform.latent_shape))
