"""Flows of autoregressive layers."""

from collections.abc import Sequence
from functools import partial

from lightning_flows.core.signatures import Options
from lightning_flows.flows.stack import AutoregressiveOptions, Stack
from lightning_flows.transforms import AffineAutoregressive, SplineAutoregressive

__all__ = ["MAF", "AutoregressiveSplineFlow"]


class MAF(Stack):
    """Masked autoregressive flow: affine layers (Papamakarios et al. 2017).

    `log_prob` costs one pass; sampling walks through the dimensions, one after the other.

    Args:
        event_shape: shape of one data point.
        bound: largest absolute log-scale of one layer.
        options: those of `Stack`.
    """

    def __init__(
        self,
        event_shape: Sequence[int] | int,
        *,
        bound: float = 3.0,
        **options: Options[AutoregressiveOptions],
    ) -> None:
        layer = partial(AffineAutoregressive, bound=bound)
        super().__init__(event_shape, layer, "reverse", **options)


class AutoregressiveSplineFlow(Stack):
    """Rational-quadratic spline layers, autoregressive (Durkan et al. 2019).

    It fits better than couplings of equal size (`NeuralSplineFlow`); its sampling walks through
    the dimensions.

    Args:
        event_shape: shape of one data point.
        bins: number of bins of each spline.
        bound: splines act on [-bound, bound] and are the identity outside.
        options: those of `Stack`.
    """

    def __init__(
        self,
        event_shape: Sequence[int] | int,
        *,
        bins: int = 8,
        bound: float = 5.0,
        **options: Options[AutoregressiveOptions],
    ) -> None:
        layer = partial(SplineAutoregressive, bins=bins, bound=bound)
        super().__init__(event_shape, layer, "reverse", **options)
