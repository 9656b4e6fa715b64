"""Flows of coupling layers."""

from collections.abc import Sequence
from functools import partial

from lightning_flows.core.signatures import Options
from lightning_flows.flows.stack import CouplingStack, CouplingStackOptions
from lightning_flows.transforms import (
    AdditiveCoupling,
    AffineCoupling,
    Chain,
    ElementwiseAffine,
    SplineCoupling,
)

__all__ = ["NICE", "NeuralSplineFlow", "RealNVP"]


class RealNVP(CouplingStack):
    """Affine coupling layers (Dinh et al. 2017).

    Args:
        event_shape: shape of one data point.
        bound: largest absolute log-scale of one layer.
        options: those of `CouplingStack`.
    """

    def __init__(
        self,
        event_shape: Sequence[int] | int,
        *,
        bound: float = 3.0,
        **options: Options[CouplingStackOptions],
    ) -> None:
        super().__init__(event_shape, partial(AffineCoupling, bound=bound), **options)


class NICE(CouplingStack):
    """Additive coupling layers, which keep the volume (Dinh et al. 2015); without scaling, GIN.

    Args:
        event_shape: shape of one data point.
        scaling: whether a learned element-wise affine map comes last.
        options: those of `CouplingStack`; with ActNorm or lu it does not keep the volume.
    """

    def __init__(
        self,
        event_shape: Sequence[int] | int,
        *,
        scaling: bool = True,
        **options: Options[CouplingStackOptions],
    ) -> None:
        super().__init__(event_shape, AdditiveCoupling, **options)
        if scaling:
            self.transform = Chain([self.transform, ElementwiseAffine(self.latent_shape)])


class NeuralSplineFlow(CouplingStack):
    """Rational-quadratic spline couplings (Durkan et al. 2019), for standardized data.

    Args:
        event_shape: shape of one data point.
        bins: number of bins of each spline.
        bound: splines act on [-bound, bound] and are the identity outside.
        options: those of `CouplingStack`.
    """

    def __init__(
        self,
        event_shape: Sequence[int] | int,
        *,
        bins: int = 8,
        bound: float = 5.0,
        **options: Options[CouplingStackOptions],
    ) -> None:
        super().__init__(event_shape, partial(SplineCoupling, bins=bins, bound=bound), **options)
