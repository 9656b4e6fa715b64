"""Flows of equal layers: couplings, and autoregressive layers."""

from collections.abc import Callable, Sequence
from typing import TypedDict

from lightning_flows.flows.assemble import BaseFactory, Mixing, assemble
from lightning_flows.flows.base import Flow
from lightning_flows.transforms import Transform

__all__ = ["AutoregressiveStack", "CouplingStack", "CouplingStackOptions", "StackOptions"]


class StackOptions(TypedDict, total=False):
    """What every stack takes beside its layer; see `AutoregressiveStack`."""

    layers: int
    hidden: Sequence[int]
    activation: str
    mixing: Mixing
    actnorm: bool
    base: BaseFactory | None
    context_shape: Sequence[int] | int | None


class CouplingStackOptions(StackOptions, total=False):
    """What every stack of couplings takes beside its layer; see `CouplingStack`."""

    residual: bool


class CouplingStack(Flow):
    """Coupling layers that map the halves of a vector in turn, each given the other half.

    Both directions cost one pass. Events of more than one dimension are flattened; so are latents.

    Args:
        event_shape: shape of one data point.
        coupling: makes a layer from the number of features and options of `Coupling`.
        layers: number of coupling layers; 2 map every dimension once.
        hidden: width of each hidden layer of the conditioners.
        activation: relu, silu, tanh, gelu, elu or softplus.
        residual: whether the conditioners are made of residual blocks.
        mixing: what stands before every second coupling after the first two: nothing, a fixed
            random permutation, or a learned LU-factorized linear map.
        actnorm: whether an ActNorm stands before every coupling; `initialize`, which modules
            call, sets it from the first batch.
        base: makes the base density from the latent shape; standard normal by default.
        context_shape: shape of what the density is conditioned on.

    Raises:
        ConfigError: an option is out of range.
    """

    def __init__(
        self,
        event_shape: Sequence[int] | int,
        coupling: Callable[..., Transform],
        *,
        layers: int = 8,
        hidden: Sequence[int] = (128, 128),
        activation: str = "relu",
        residual: bool = False,
        mixing: Mixing = "none",
        actnorm: bool = False,
        base: BaseFactory | None = None,
        context_shape: Sequence[int] | int | None = None,
    ) -> None:
        def layer(features: int, i: int) -> Transform:
            return coupling(
                features,
                hidden=hidden,
                activation=activation,
                residual=residual,
                swap=i % 2 == 1,
                context_shape=context_shape,
            )

        transform = assemble(
            event_shape, layers, layer, mixing=mixing, actnorm=actnorm, interleave=True
        )
        super().__init__(transform, None if base is None else base(transform.latent_shape))


class AutoregressiveStack(Flow):
    """Autoregressive layers, each with the order of dimensions reversed.

    `log_prob` costs one pass; sampling walks through the dimensions, one after the other. Events
    of more than one dimension are flattened; so are latents.

    Args:
        event_shape: shape of one data point.
        autoregressive: makes a layer from the number of features and options of `Autoregressive`.
        layers: number of autoregressive layers.
        hidden: width of each hidden layer of the masked networks.
        activation: relu, silu, tanh, gelu, elu or softplus.
        mixing: none, permutation or lu, as in `CouplingStack`.
        actnorm: whether an ActNorm stands before every layer; `initialize`, which modules
            call, sets it from the first batch.
        base: makes the base density from the latent shape; standard normal by default.
        context_shape: shape of what the density is conditioned on.

    Raises:
        ConfigError: an option is out of range.
    """

    def __init__(
        self,
        event_shape: Sequence[int] | int,
        autoregressive: Callable[..., Transform],
        *,
        layers: int = 5,
        hidden: Sequence[int] = (128, 128),
        activation: str = "relu",
        mixing: Mixing = "none",
        actnorm: bool = False,
        base: BaseFactory | None = None,
        context_shape: Sequence[int] | int | None = None,
    ) -> None:
        def layer(features: int, i: int) -> Transform:
            return autoregressive(
                features,
                hidden=hidden,
                activation=activation,
                reverse=i % 2 == 1,
                context_shape=context_shape,
            )

        transform = assemble(event_shape, layers, layer, mixing=mixing, actnorm=actnorm)
        super().__init__(transform, None if base is None else base(transform.latent_shape))
