"""A module of one's own: maximum likelihood that outliers do not rule."""

from collections.abc import Sequence

from torch import Tensor

from lightning_flows.modules import FlowFactory, FlowModule, ModuleOptions, Options


class RobustModule(FlowModule):
    """Trains on -log p up to a limit, and on the logarithm of what lies above it.

    Args:
        flow: makes the flow from the event shape.
        event_shape: shape of one data point.
        context_shape: shape of what the density is conditioned on.
        limit: nats above which a data point counts less.
        options: those of `FlowModule`.
    """

    def __init__(
        self,
        flow: FlowFactory,
        event_shape: Sequence[int] | int,
        context_shape: Sequence[int] | int | None = None,
        *,
        limit: float = 10.0,
        **options: Options[ModuleOptions],
    ) -> None:
        super().__init__(flow, event_shape, context_shape, **options)
        self.limit = limit

    def training_loss(self, x: Tensor, context: Tensor | None) -> tuple[Tensor, dict[str, Tensor]]:
        nll = -self.log_prob(x, context)
        above = (nll - self.limit).clamp(min=0)
        return nll - above + above.log1p(), {"nll": nll}

    def evaluate(self, x: Tensor, context: Tensor | None) -> dict[str, Tensor]:
        loss, parts = self.training_loss(x, context)
        return {**parts, "loss": loss}
