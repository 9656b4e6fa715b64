"""Flows of angles, alone or beside other columns."""

from collections.abc import Callable, Sequence
from typing import Literal

from lightning_flows.bases.by_columns import simplest_on
from lightning_flows.core.errors import ConfigError, check_least
from lightning_flows.core.shapes import as_features
from lightning_flows.core.support import REAL, Support, Torus, by_columns, set_of_each
from lightning_flows.flows.assemble import BaseFactory
from lightning_flows.flows.base import Flow
from lightning_flows.transforms import (
    Chain,
    Permutation,
    SplineAutoregressive,
    SplineCoupling,
    Transform,
)

__all__ = ["CircularSplineFlow"]


class CircularSplineFlow(Flow):
    """Rational-quadratic splines on the torus (Rezende et al. 2020, section 2.1).

    Angles are radians in [-π, π]. Each is mapped by a circular spline, after a rotation that the
    network computes too, and is shown to networks as cosine and sine, so that densities are
    continuous where -π and π meet. Columns that are no angles have the splines of their own set.

    Args:
        event_shape: the number of columns, or (columns,).
        periodic: places of the columns that are angles, others being real; all by default.
        support: set that data lies in, in place of `periodic`: angles, intervals with two ends, all
            reals, or `Columns` of those. `ComposedFlow` gives it after a chart of a manifold.
        coupling: couplings, which sample in one pass, in place of autoregressive layers, which
            fit better for their size.
        layers: number of layers.
        bins: number of bins of each spline.
        bound: splines of real columns act on [-bound, bound] and are the identity outside.
        hidden: width of each hidden layer of the networks.
        activation: relu, silu, tanh, gelu, elu or softplus.
        mixing: what stands before every second layer after the first two: nothing, or a fixed
            random permutation.
        base: makes the base density from the latent shape; uniform on angles and intervals and
            standard normal on the reals by default.
        context_shape: shape of what the density is conditioned on.

    Raises:
        ConfigError: an option is out of range, or both `periodic` and `support` are given.
        ShapeError: events are no vectors, or not of the support.
    """

    def __init__(
        self,
        event_shape: Sequence[int] | int,
        *,
        periodic: Sequence[int] | None = None,
        support: Support | None = None,
        coupling: bool = False,
        layers: int = 4,
        bins: int = 8,
        bound: float = 5.0,
        hidden: Sequence[int] = (128, 128),
        activation: str = "relu",
        mixing: Literal["none", "permutation"] = "none",
        base: BaseFactory | None = None,
        context_shape: Sequence[int] | int | None = None,
    ) -> None:
        features = as_features(event_shape, type(self).__name__)
        check_least(1, layers=layers)
        if mixing not in ("none", "permutation"):
            raise ConfigError(f"mixing is {mixing!r}; accepted are 'none' and 'permutation'.")

        def made(support: Support, *, turned: bool) -> Transform:
            layer: Callable[..., Transform] = SplineAutoregressive
            turn = {"reverse": turned}
            if coupling:
                layer, turn = SplineCoupling, {"swap": turned}
            return layer(
                features,
                bins=bins,
                bound=bound,
                support=support,
                hidden=hidden,
                activation=activation,
                context_shape=context_shape,
                **turn,
            )

        leads = _support(features, periodic, support)
        parts: list[Transform] = []
        for i in range(layers):
            if mixing == "permutation" and features > 1 and i and i % 2 == 0:
                parts.append(Permutation(features, seed=i, support=leads))
                leads = parts[-1].codomain or leads
            parts.append(made(leads, turned=i % 2 == 1))
        super().__init__(
            Chain(parts), simplest_on(leads, features) if base is None else base((features,))
        )


def _support(features: int, periodic: Sequence[int] | None, support: Support | None) -> Support:
    """The set that data lies in, with angles by themselves as a torus."""
    if support is not None:
        if periodic is not None:
            raise ConfigError("periodic and support are both given; one of them says all.")
        support.check((features,))
        return by_columns(set_of_each(support, features))
    places = [*range(features)] if periodic is None else [*periodic]
    if not {*places} <= {*range(features)} or len({*places}) < len(places):
        raise ConfigError(
            f"periodic is {places}; accepted are different integers from 0 to {features - 1}."
        )
    return by_columns([Torus(1) if place in places else REAL for place in range(features)])
