"""Flows on tables that mix real columns with columns of categories."""

from collections.abc import Callable, Sequence
from typing import Literal

from lightning_flows.bases.given import DensityFactory
from lightning_flows.core.errors import ConfigError, ShapeError
from lightning_flows.core.shapes import Shape, as_shape, size
from lightning_flows.flows.base import Flow
from lightning_flows.flows.coupling import RealNVP
from lightning_flows.transforms import Argmax, Chain, OnEntries

__all__ = ["MixedFlow"]


class MixedFlow(Flow):
    """Density of rows with real columns and columns of categories, numbered from 0.

    `Argmax` turns the categories into real numbers, given the real columns, and a flow models
    both together (Hoogeboom et al. 2021). The log-likelihood is a lower bound: of a density in the
    real columns, of a probability in the others. Samples hold valid categories. `latent_shape`
    counts real columns and the entries that categories take.

    Args:
        event_shape: (columns,).
        classes: number of categories of each column, 0 for a real one; `Arrays.classes` of a
            table with `categorical` columns.
        flow: makes the flow on what the categories have become; RealNVP by default.
        encoding: one-hot or binary; see `Argmax`.
        density: makes the one of the noise that goes with categories; a `ConditionalNormal`
            by default.
        context_shape: shape of what the density is conditioned on.

    Raises:
        ConfigError: no categories, one alone in a column, or a column without a number.
        ShapeError: events are no vectors.
    """

    def __init__(
        self,
        event_shape: Sequence[int] | int,
        *,
        classes: Sequence[int],
        flow: Callable[[Shape], Flow] | None = None,
        encoding: Literal["one-hot", "binary"] = "one-hot",
        density: DensityFactory | None = None,
        context_shape: Sequence[int] | int | None = None,
    ) -> None:
        shape = as_shape(event_shape)
        if len(shape) != 1:
            raise ShapeError(f"event_shape is {shape}; MixedFlow takes (columns,).")
        classes = tuple(classes)
        if len(classes) != shape[0] or not any(classes):
            raise ConfigError(
                f"classes is {classes}; expected are {shape[0]} numbers, one for each column: how "
                "many categories it has, or 0 for a real one."
            )
        places = [place for place, n in enumerate(classes) if n]
        conditioned = {} if context_shape is None else {"context_shape": as_shape(context_shape)}
        seen = shape[0] - len(places) + sum(map(size, conditioned.values()))
        argmax = Argmax(
            [classes[place] for place in places],
            encoding=encoding,
            density=density,
            context_shape=seen or None,
        )
        layer = OnEntries(shape[0], places, argmax, context_shape=context_shape)
        inner = (RealNVP if flow is None else flow)(layer.latent_shape, **conditioned)
        super().__init__(Chain([layer, inner.transform]), inner.base)
        self.classes = classes
