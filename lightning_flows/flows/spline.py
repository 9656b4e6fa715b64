"""Flows made of rational-quadratic splines."""

from collections.abc import Sequence
from typing import Any

from lightning_flows.core.errors import ConfigError
from lightning_flows.flows.assemble import BaseFactory, Mixing, assemble
from lightning_flows.flows.base import Flow
from lightning_flows.transforms import SplineAutoregressive, SplineCoupling, Transform

__all__ = ["NeuralSplineFlow"]


class NeuralSplineFlow(Flow):
    """Rational-quadratic spline layers (Durkan et al. 2019): coupling or autoregressive.

    Coupling costs one pass in both directions. Autoregressive fits better at equal size; its
    sampling walks through the dimensions. Splines are the identity outside [-bound, bound]:
    standardize data. Events of more than one dimension are flattened; so are latents.

    Args:
        event_shape: shape of one data point.
        layers: number of spline layers.
        bins: number of bins of each spline.
        bound: half-width of the interval that splines act on, in units of the data.
        hidden: width of each hidden layer of the conditioners.
        activation: relu, silu, tanh, gelu, elu or softplus.
        residual: whether the conditioners are made of residual blocks; coupling only.
        autoregressive: autoregressive layers in place of couplings.
        mixing: none, permutation or lu, as in `RealNVP`.
        actnorm: whether an ActNorm stands before every layer; `initialize`, which modules
            call, sets it from the first batch.
        base: makes the base density from the latent shape; standard normal unless given.
        context_shape: shape of what the density is conditioned on.

    Raises:
        ConfigError: an option is out of range, or residual conditioners are asked for in
            autoregressive layers.
    """

    def __init__(
        self,
        event_shape: Sequence[int] | int,
        *,
        layers: int = 8,
        bins: int = 8,
        bound: float = 5.0,
        hidden: Sequence[int] = (128, 128),
        activation: str = "relu",
        residual: bool = False,
        autoregressive: bool = False,
        mixing: Mixing = "none",
        actnorm: bool = False,
        base: BaseFactory | None = None,
        context_shape: Sequence[int] | int | None = None,
    ) -> None:
        if autoregressive and residual:
            raise ConfigError("residual conditioners exist for coupling layers only.")

        options: dict[str, Any] = {
            "bins": bins,
            "bound": bound,
            "hidden": hidden,
            "activation": activation,
            "context_shape": context_shape,
        }

        def layer(features: int, i: int) -> Transform:
            second = i % 2 == 1
            if autoregressive:
                return SplineAutoregressive(features, reverse=second, **options)
            return SplineCoupling(features, residual=residual, swap=second, **options)

        transform = assemble(
            event_shape,
            layers,
            layer,
            mixing=mixing,
            actnorm=actnorm,
            interleave=not autoregressive,
        )
        super().__init__(transform, None if base is None else base(transform.latent_shape))
