"""A learned density that depends on the distance from the origin alone."""

from collections.abc import Sequence

from lightning_flows.flows.base import Flow
from lightning_flows.transforms import Radial

__all__ = ["RadialBase"]


class RadialBase(Flow):
    """Uniform direction and learned distance: a base for flows whose layers preserve volume.

    A standard normal seen through one `Radial` layer: the distance ‖x‖ of a draw is g⁻¹ of one
    with the χ distribution of D degrees of freedom. The decreasing rearrangement of any density is
    a radial profile, and such flows cannot change that of their base (Draxler et al. 2024,
    arXiv 2402.06578):

        NICE(2, scaling=False, base=RadialBase)

    Args:
        event_shape: shape of one point.
        bins: number of bins of the spline g².
        bound: where the spline ends; 5 beyond √D by default.
        context_shape: shape of what the distance depends on.

    Raises:
        ConfigError: `bins` is out of range, or `bound` not positive.
    """

    def __init__(
        self,
        event_shape: Sequence[int] | int,
        *,
        bins: int = 8,
        bound: float | None = None,
        context_shape: Sequence[int] | int | None = None,
    ) -> None:
        super().__init__(Radial(event_shape, bins=bins, bound=bound, context_shape=context_shape))
