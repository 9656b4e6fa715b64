"""Rectangular flows."""

from collections.abc import Callable, Sequence

from lightning_flows.bases.base import Density
from lightning_flows.core.shapes import Shape
from lightning_flows.core.signatures import Options
from lightning_flows.flows.injective import PaddedFlow
from lightning_flows.modules.arguments import require_left_inverse
from lightning_flows.modules.injective import InjectiveModule, InjectiveOptions

__all__ = ["RectangularModule"]


class RectangularModule(InjectiveModule):
    """Joint learning with a bijection ∘ pad ∘ low-dimensional flow (Caterini et al. 2021).

    `project` is a left inverse of `embed` by construction, so only the data's distance from the
    manifold has to be learned. The volume is exact unless another strategy is given;
    `FreeFormVolume` is biased here, since the encoder's Jacobian is not the pseudo-inverse of the
    decoder's.

    Args:
        flow: makes the flow from the event shape.
        event_shape: shape of one data point.
        context_shape: shape of what the density on the manifold is conditioned on.
        options: those of `InjectiveModule`.

    Raises:
        ConfigError: an option is out of range, or the flow's `project` does not undo its `embed`.
    """

    def __init__(
        self,
        flow: Callable[[Shape], PaddedFlow],
        event_shape: Sequence[int] | int,
        context_shape: Sequence[int] | int | None = None,
        **options: Options[InjectiveOptions],
    ) -> None:
        super().__init__(flow, event_shape, context_shape, **options)

    def check_flow(self, flow: Density) -> None:
        super().check_flow(flow)
        require_left_inverse(self, flow)
