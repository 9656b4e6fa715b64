"""Flows of equal layers: couplings, and autoregressive layers."""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Literal, TypedDict

from lightning_flows.core.signatures import Options
from lightning_flows.flows.assemble import BaseFactory, Mixing, assemble
from lightning_flows.flows.base import Flow
from lightning_flows.transforms import Transform

__all__ = ["AutoregressiveOptions", "CouplingStack", "CouplingStackOptions", "Stack"]


class StackOptions(TypedDict, total=False):
    """What every stack takes beside its layers and their number; see `Stack`."""

    hidden: Sequence[int]
    activation: str
    mixing: Mixing
    actnorm: bool
    base: BaseFactory | None
    context_shape: Sequence[int] | int | None


class AutoregressiveOptions(StackOptions, total=False):
    """What flows of autoregressive layers take beside those; see `Stack`."""

    layers: int


class CouplingStackOptions(StackOptions, total=False):
    """What flows of couplings take beside them; see `CouplingStack`."""

    layers: int
    residual: bool


class Stack(Flow):
    """Equal layers, one after the other, every second one turned round.

    Events of more than one dimension are flattened; so are latents.

    Args:
        event_shape: shape of one data point.
        layer: makes a layer from the number of features, with the options `hidden`, `activation`,
            `context_shape` and the one that `turned` names.
        turned: the option that is True in every second layer: "reverse", or "swap" of layers that
            map one half of a vector, to whose first half every second entry goes then.
        layers: number of layers.
        hidden: width of each hidden layer of the networks.
        activation: relu, silu, tanh, gelu, elu or softplus.
        mixing: what stands before every second layer after the first two: nothing, a fixed
            random permutation, or a learned LU-factorized linear map.
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
        layer: Callable[..., Transform],
        turned: Literal["swap", "reverse"],
        *,
        layers: int = 5,
        hidden: Sequence[int] = (128, 128),
        activation: str = "relu",
        mixing: Mixing = "none",
        actnorm: bool = False,
        base: BaseFactory | None = None,
        context_shape: Sequence[int] | int | None = None,
    ) -> None:
        def made(features: int, i: int) -> Transform:
            turn = {turned: i % 2 == 1}
            return layer(
                features, hidden=hidden, activation=activation, context_shape=context_shape, **turn
            )

        transform = assemble(
            event_shape, layers, made, mixing=mixing, actnorm=actnorm, interleave=turned == "swap"
        )
        super().__init__(transform, None if base is None else base(transform.latent_shape))


class CouplingStack(Stack):
    """Coupling layers that map the halves of a vector in turn, each given the other half.

    Both directions cost one pass.

    Args:
        event_shape: shape of one data point.
        coupling: makes a layer from the number of features and options of `Coupling`.
        layers: number of coupling layers; 2 map every dimension once.
        residual: whether the conditioners are made of residual blocks.
        options: those of `Stack`.

    Raises:
        ConfigError: an option is out of range.
    """

    def __init__(
        self,
        event_shape: Sequence[int] | int,
        coupling: Callable[..., Transform],
        *,
        layers: int = 8,
        residual: bool = False,
        **options: Options[StackOptions],
    ) -> None:
        layer = partial(coupling, residual=residual)
        super().__init__(event_shape, layer, "swap", layers=layers, **options)
