"""Flows of autoregressive layers."""

from collections.abc import Sequence
from functools import partial

from lightning_flows.core.signatures import Options
from lightning_flows.flows.stack import AutoregressiveStack, StackOptions
from lightning_flows.transforms import AffineAutoregressive, SplineAutoregressive

__all__ = ["MAF", "AutoregressiveSplineFlow"]


class MAF(AutoregressiveStack):
    """Masked autoregressive flow: affine layers (Papamakarios et al. 2017).

    Args:
        event_shape: shape of one data point.
        bound: largest absolute log-scale of one layer.
        options: those of `AutoregressiveStack`.
    """

    def __init__(
        self,
        event_shape: Sequence[int] | int,
        *,
        bound: float = 3.0,
        **options: Options[StackOptions],
    ) -> None:
        super().__init__(event_shape, partial(AffineAutoregressive, bound=bound), **options)


class AutoregressiveSplineFlow(AutoregressiveStack):
    """Rational-quadratic spline layers, autoregressive (Durkan et al. 2019).

    It fits better than couplings of equal size (`NeuralSplineFlow`); its sampling walks through
    the dimensions.

    Args:
        event_shape: shape of one data point.
        bins: number of bins of each spline.
        bound: splines act on [-bound, bound] and are the identity outside.
        options: those of `AutoregressiveStack`.
    """

    def __init__(
        self,
        event_shape: Sequence[int] | int,
        *,
        bins: int = 8,
        bound: float = 5.0,
        **options: Options[StackOptions],
    ) -> None:
        layer = partial(SplineAutoregressive, bins=bins, bound=bound)
        super().__init__(event_shape, layer, **options)
