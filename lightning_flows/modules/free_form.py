"""Free-form injective flows."""

from collections.abc import Callable, Sequence

from lightning_flows.core.errors import ConfigError
from lightning_flows.core.shapes import Shape
from lightning_flows.core.signatures import Options
from lightning_flows.flows.free_form import FreeFormFlow
from lightning_flows.flows.injective import PaddedFlow
from lightning_flows.modules.injective import InjectiveModule, ManifoldOptions
from lightning_flows.objectives import FreeFormVolume, Volume

__all__ = ["FreeFormModule"]


class FreeFormModule(InjectiveModule):
    """Joint learning with any encoder and any decoder (Sorrenson et al. 2024).

    The volume's gradient comes from the encoder's Jacobian at the data point unless another
    strategy is given; that variant is bounded below. Choose β from the noise of the data: with
    β < 1/(2σ²) joint training of free networks can collapse.

    Args:
        flow: makes the flow from the event shape.
        event_shape: shape of one data point.
        context_shape: shape of what the density on the manifold is conditioned on.
        volume: how the gradient of the volume is computed; `FreeFormVolume` by default.
        options: those of `InjectiveModule`.

    Raises:
        ConfigError: an option is out of range, or the flow is a PaddedFlow or on no manifold.
    """

    def __init__(
        self,
        flow: Callable[[Shape], FreeFormFlow],
        event_shape: Sequence[int] | int,
        context_shape: Sequence[int] | int | None = None,
        *,
        volume: Volume | None = None,
        **options: Options[ManifoldOptions],
    ) -> None:
        chosen = FreeFormVolume() if volume is None else volume
        super().__init__(flow, event_shape, context_shape, volume=chosen, **options)
        if volume is None and isinstance(self.flow, PaddedFlow):
            raise ConfigError(
                "The gradient that FreeFormModule takes is biased for a PaddedFlow: use "
                "RectangularModule."
            )
