"""Flows made of affine and additive coupling layers."""

from collections.abc import Sequence

from lightning_flows.flows.assemble import BaseFactory, Mixing, assemble
from lightning_flows.flows.base import Flow
from lightning_flows.transforms import (
    AdditiveCoupling,
    AffineCoupling,
    Chain,
    ElementwiseAffine,
    Transform,
)

__all__ = ["NICE", "RealNVP"]


class RealNVP(Flow):
    """Affine coupling layers that map the halves of a vector in turn (Dinh et al. 2017).

    Both directions cost one pass. Events of more than one dimension are flattened; so are latents.

    Args:
        event_shape: shape of one data point.
        layers: number of coupling layers; 2 map every dimension once.
        hidden: width of each hidden layer of the conditioners.
        activation: relu, silu, tanh, gelu, elu or softplus.
        residual: whether the conditioners are made of residual blocks.
        bound: largest absolute log-scale of one layer.
        mixing: what stands before every second coupling after the first two: nothing, a fixed
            random permutation, or a learned LU-factorized linear map.
        actnorm: whether an ActNorm stands before every coupling; `initialize`, which modules
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
        layers: int = 8,
        hidden: Sequence[int] = (128, 128),
        activation: str = "relu",
        residual: bool = False,
        bound: float = 3.0,
        mixing: Mixing = "none",
        actnorm: bool = False,
        base: BaseFactory | None = None,
        context_shape: Sequence[int] | int | None = None,
    ) -> None:
        def coupling(features: int, i: int) -> Transform:
            return AffineCoupling(
                features,
                bound=bound,
                hidden=hidden,
                activation=activation,
                residual=residual,
                swap=i % 2 == 1,
                context_shape=context_shape,
            )

        transform = assemble(
            event_shape, layers, coupling, mixing=mixing, actnorm=actnorm, interleave=True
        )
        super().__init__(transform, None if base is None else base(transform.latent_shape))


class NICE(Flow):
    """Additive coupling layers, which keep the volume (Dinh et al. 2015).

    With `scaling` a learned factor for each dimension comes last, as in the paper; without it the
    flow preserves volume, as in GIN (Sorrenson et al. 2020). Events of more than one dimension are
    flattened; so are latents.

    Args:
        event_shape: shape of one data point.
        layers: number of coupling layers; 2 map every dimension once.
        hidden: width of each hidden layer of the conditioners.
        activation: relu, silu, tanh, gelu, elu or softplus.
        residual: whether the conditioners are made of residual blocks.
        scaling: whether a learned element-wise affine map comes last.
        mixing: none, permutation or lu, as in `RealNVP`; lu does not keep the volume.
        base: makes the base density from the latent shape; standard normal unless given.
        context_shape: shape of what the density is conditioned on.

    Raises:
        ConfigError: an option is out of range.
    """

    def __init__(
        self,
        event_shape: Sequence[int] | int,
        *,
        layers: int = 8,
        hidden: Sequence[int] = (128, 128),
        activation: str = "relu",
        residual: bool = False,
        scaling: bool = True,
        mixing: Mixing = "none",
        base: BaseFactory | None = None,
        context_shape: Sequence[int] | int | None = None,
    ) -> None:
        def coupling(features: int, i: int) -> Transform:
            return AdditiveCoupling(
                features,
                hidden=hidden,
                activation=activation,
                residual=residual,
                swap=i % 2 == 1,
                context_shape=context_shape,
            )

        transform = assemble(event_shape, layers, coupling, mixing=mixing, interleave=True)
        if scaling:
            transform = Chain([transform, ElementwiseAffine(transform.latent_shape)])
        super().__init__(transform, None if base is None else base(transform.latent_shape))
