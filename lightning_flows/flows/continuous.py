"""Continuous flows: densities that follow a vector field from noise to data."""

from collections.abc import Sequence

from torch import Tensor

from lightning_flows.bases.base import Density
from lightning_flows.core.errors import ConfigError, ShapeError
from lightning_flows.core.shapes import Shape, as_shape
from lightning_flows.core.signatures import takes
from lightning_flows.flows.assemble import BaseFactory
from lightning_flows.flows.transport import FieldFlow, Transport
from lightning_flows.nets.fields import FieldFactory, FieldMLP, VectorField

__all__ = ["ContinuousFlow", "make_field"]


class ContinuousFlow(FieldFlow):
    """Noise at time 0 follows a vector field to data at time 1 (Chen et al. 2018).

    log p(x) = log p_base(x_0) - ∫ div v(x_t, t) dt, along the path that ends at x. Trained by
    `FlowMatchingModule` without a differential equation being solved, or by `DensityModule`
    through its solution (FFJORD, Grathwohl et al. 2019).

    With adaptive steps results of a row depend on the other rows of its batch, within `tolerance`;
    with fixed `steps` they do not, and the error of the steps is yours to judge.

    Args:
        event_shape: shape of one data point.
        field: makes the vector field from the event shape; a `FieldMLP` by default.
        base: makes the density of the noise; standard normal by default.
        probes: vectors of random signs that the divergence is estimated by, 0 for the exact one;
            by default exact up to 100 entries of a point, and one vector beyond.
        steps: number of fixed steps; None adapts them.
        tolerance: of each adaptive step, in units of the data and of nats.
        context_shape: shape of what the density is conditioned on.

    Raises:
        ConfigError: a number out of range, or `field` makes no `VectorField`.
        ShapeError: the field is one of other shapes.
    """

    def __init__(
        self,
        event_shape: Sequence[int] | int,
        *,
        field: FieldFactory | None = None,
        base: BaseFactory | None = None,
        probes: int | None = None,
        steps: int | None = None,
        tolerance: float = 1e-5,
        context_shape: Sequence[int] | int | None = None,
    ) -> None:
        shape = as_shape(event_shape)
        made = make_field(field, shape, context_shape)
        transport = Transport(made, probes=probes, steps=steps, tolerance=tolerance)
        noise: Density | None = None if base is None else base(shape)
        super().__init__(transport, noise)

    def endpoints(self, x: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        return self.base.draw(len(x), self._base_context(context)), x


def make_field(
    factory: FieldFactory | None, shape: Shape, context_shape: Sequence[int] | int | None
) -> VectorField:
    """The vector field of a flow, a `FieldMLP` by default.

    Raises:
        ConfigError: the factory makes something else, or takes no context where there is some.
        ShapeError: the field is one of other shapes.
    """
    make = FieldMLP if factory is None else factory
    given = {} if context_shape is None else {"context_shape": as_shape(context_shape)}
    if given and not takes(make, "context_shape"):
        raise ConfigError(
            f"context_shape is {given['context_shape']}, and field does not take one; make it "
            "accept the argument context_shape."
        )
    field = make(shape, **given)
    if not isinstance(field, VectorField):
        raise ConfigError(
            f"field makes a {type(field).__name__}; give what makes a VectorField, such as "
            "FieldMLP."
        )
    if (field.event_shape, field.context_shape) != (shape, given.get("context_shape")):
        raise ShapeError(
            f"field made one of event_shape {field.event_shape} and context_shape "
            f"{field.context_shape}; expected are {shape} and {given.get('context_shape')}."
        )
    return field
