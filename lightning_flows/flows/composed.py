"""Flows composed of any layers, each made from the shape that the one before it leaves."""

from collections.abc import Callable, Sequence

from lightning_flows.bases.base import Density
from lightning_flows.bases.by_columns import is_simplest
from lightning_flows.core.errors import ConfigError
from lightning_flows.core.shapes import Shape, as_shape
from lightning_flows.core.signatures import takes
from lightning_flows.core.support import REAL, Support
from lightning_flows.flows.assemble import BaseFactory
from lightning_flows.flows.base import Flow
from lightning_flows.transforms import Chain, Transform

__all__ = ["ComposedFlow", "Layer"]

Layer = Callable[[Shape], Transform | Density]
"""Makes a transform, or a flow that gives its transform, from the shape of what it gets."""


class ComposedFlow(Flow):
    """Layers in the order in which data passes through them, surjections among them.

    Every layer is made from the shape that the one before it leaves, so that shapes need not be
    written down, and from the set that it leads to, where that is not all reals and the layer
    takes a `support`. A layer may be a whole flow, which stands for its stack of transforms. Points
    that are alike under changes of sign:

        ComposedFlow(2, layers=[Abs, partial(InverseOf, layer=Softplus), RealNVP])

    Args:
        event_shape: shape of one data point.
        layers: make the layers: transforms, or flows such as `RealNVP` and `NeuralSplineFlow`.
        base: makes the base density from the latent shape; that of the last layer, where it is a
            flow, or a standard normal by default.
        context_shape: shape of what those layers are conditioned on that take it.

    Raises:
        ConfigError: no layer, or one that is neither a transform nor a flow; a base that would be
            dropped.
        ShapeError: neighbors do not fit.
    """

    def __init__(
        self,
        event_shape: Sequence[int] | int,
        *,
        layers: Sequence[Layer],
        base: BaseFactory | None = None,
        context_shape: Sequence[int] | int | None = None,
    ) -> None:
        if not layers:
            raise ConfigError("layers is empty; a flow has at least one layer.")
        shape = as_shape(event_shape)
        transforms: list[Transform] = []
        bases: list[Density | None] = []
        for make in layers:
            part = _made(
                make, shape, context_shape, transforms[-1].codomain if transforms else None
            )
            transforms.append(part.transform if isinstance(part, Flow) else part)
            bases.append(part.base if isinstance(part, Flow) else None)
            shape = transforms[-1].latent_shape
        if base is not None:
            bases.append(base(shape))
        dropped = [each for each in bases[:-1] if each is not None and not is_simplest(each)]
        if dropped:
            raise ConfigError(
                f"A layer brings the base {type(dropped[0]).__name__}, which would be dropped; "
                "only the last layer may bring one, and only where base is not given."
            )
        super().__init__(Chain(transforms), bases[-1])


def _made(
    make: Layer,
    shape: Shape,
    context_shape: Sequence[int] | int | None,
    support: Support | None,
) -> Transform | Flow:
    """One layer, with context and support where there are any and the layer takes them."""
    known = {"context_shape": context_shape, "support": None if support == REAL else support}
    taken = {
        name: value for name, value in known.items() if value is not None and takes(make, name)
    }
    part = make(shape, **taken)
    if not isinstance(part, Transform | Flow):
        raise ConfigError(
            f"layers holds {type(part).__name__}; accepted are transforms, and flows that are made "
            "of one."
        )
    return part
