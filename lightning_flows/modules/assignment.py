"""Flow matching for discrete data."""

from collections.abc import Sequence

from torch import Tensor

from lightning_flows.bases.base import Density
from lightning_flows.core.errors import ConfigError, DataError
from lightning_flows.core.signatures import Options
from lightning_flows.flows import AssignmentFlow
from lightning_flows.modules.base import FlowFactory, ModuleOptions
from lightning_flows.modules.flow_matching import FlowMatchingModule

__all__ = ["AssignmentModule"]


class AssignmentModule(FlowMatchingModule):
    """Trains an assignment flow on labels: whole numbers from 0 up, such as categories and bits.

    The loss is that of `FlowMatchingModule` on the e-geodesics from noise to the labels' vertex,
    T²·E‖E[Π₀e_y | z(t)] - Π₀e_y‖². It logs `elbo`, the lower bound of the log-probability, with its
    standard error `elbo_se`, and bits for each variable as `bits_per_dim`.

    Args:
        flow: makes an `AssignmentFlow` from the event shape.
        event_shape: shape of one data point.
        context_shape: shape of what the probability is conditioned on.
        likelihood_rows: as in `FlowMatchingModule`.
        likelihood_rows_val: as in `FlowMatchingModule`.
        options: those of `FlowModule`, without `penalties` and `noise`.

    Raises:
        ConfigError: the flow is none of labels, a number is out of range, or penalties or noise
            are asked for, which labels do not have.
    """

    def __init__(
        self,
        flow: FlowFactory,
        event_shape: Sequence[int] | int,
        context_shape: Sequence[int] | int | None = None,
        *,
        likelihood_rows: int | None = None,
        likelihood_rows_val: int | None = 1000,
        **options: Options[ModuleOptions],
    ) -> None:
        super().__init__(
            flow,
            event_shape,
            context_shape,
            likelihood_rows=likelihood_rows,
            likelihood_rows_val=likelihood_rows_val,
            **options,
        )
        if self.noise or self.named_penalties:
            what = "noise" if self.noise else "penalties"
            raise ConfigError(
                f"{what} is given; AssignmentModule takes none, as labels have no derivatives."
            )

    def check_flow(self, flow: Density) -> None:
        if not isinstance(flow, AssignmentFlow):
            raise ConfigError(
                f"{type(self).__name__} trains AssignmentFlow, whose data are labels, and "
                f"{type(flow).__name__} is none: use FlowMatchingModule."
            )

    def training_loss(self, x: Tensor, context: Tensor | None) -> tuple[Tensor, dict[str, Tensor]]:
        y = self.to_model_space(x)[0]
        inside = self.flow.support.contains(y)
        if not inside.all():
            row = int((~inside).nonzero()[0])
            raise DataError(
                f"Row {row} of a batch holds values from {y[row].min().item():g} to "
                f"{y[row].max().item():g}{' after preprocessing' * (self.preprocess is not None)}; "
                f"{type(self.flow).__name__} takes {self.flow.support}."
            )
        return super().training_loss(x, context)
