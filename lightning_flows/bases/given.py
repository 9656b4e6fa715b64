"""What a layer drops or adds, as a density given what it keeps."""

from collections.abc import Callable, Sequence
from typing import Any

from torch import Tensor, nn

from lightning_flows.bases.base import Density
from lightning_flows.bases.conditional import Parametrized
from lightning_flows.core.errors import ConfigError, ShapeError
from lightning_flows.core.shapes import Shape, as_shape, join, joined_shape
from lightning_flows.core.signatures import takes
from lightning_flows.core.support import REAL, Support

__all__ = ["DensityFactory", "DensityGiven"]

DensityFactory = Callable[[Shape], Density]
"""Makes a density from the shape of its events, and from `context_shape` where it takes one."""


class DensityGiven(nn.Module):
    """A density of one part of the data given another part, and given context where there is any.

    The density sees what is given as its context. Where there is context besides, both are
    flattened and joined. A density without context serves as well: it is the same everywhere.

    Args:
        density: a density, or a factory: `ConditionalNormal`, `Normal`,
            `partial(RealNVP, layers=4)`. A factory is called with the shape of the events and
            with `context_shape` and `offered`, as far as it takes them.
        event_shape: shape of what is scored.
        given_shape: shape of what it is scored given.
        context_shape: shape of the context of the layer, or None.
        support: set that events lie in.
        offered: further arguments of the factory.

    Raises:
        ShapeError: the density has another shape or support than the layer needs.
        ConfigError: the density is known up to a bound only.
    """

    def __init__(
        self,
        density: Density | Callable[..., Density],
        event_shape: Sequence[int],
        given_shape: Sequence[int],
        context_shape: Shape | None = None,
        *,
        support: Support | None = REAL,
        **offered: Any,
    ) -> None:
        super().__init__()
        given_shape = joined_shape(as_shape(given_shape, "given_shape"), context_shape)
        self.joined = context_shape is not None
        if not isinstance(density, Density):
            offered["context_shape"] = given_shape
            known = {name: value for name, value in offered.items() if takes(density, name)}
            density = density(as_shape(event_shape), **known)
        name = type(density).__name__
        if density.event_shape != tuple(event_shape):
            raise ShapeError(
                f"{name} scores events of shape {density.event_shape}; "
                f"the layer drops or adds {tuple(event_shape)}."
            )
        if density.context_shape not in (None, given_shape):
            raise ShapeError(
                f"{name} has context_shape {density.context_shape}; "
                f"the layer conditions it on {given_shape}."
            )
        if support is not None and density.support != support:
            raise ShapeError(
                f"{name} lives on {density.support}; the layer drops or adds {support}."
            )
        if not density.exact:
            raise ConfigError(
                f"{name} gives a lower bound of its density; a layer can only use exact ones."
            )
        self.density = density

    def score(self, x: Tensor, given: Tensor, context: Tensor | None) -> Tensor:
        """Log-density of x (batch, *event_shape): (batch,), nats."""
        log_p: Tensor = self.density(x, self._join(given, context))
        return log_p

    def score_each(self, x: Tensor, given: Tensor, context: Tensor | None) -> Tensor:
        """Log-density of every entry by itself, where the density has independent ones."""
        assert isinstance(self.density, Parametrized)
        return self.density.log_prob_each(x, self._join(given, context))

    def draw(self, given: Tensor, context: Tensor | None) -> tuple[Tensor, Tensor]:
        """One point for each row, (batch, *event_shape), and its log-density (batch,)."""
        return self.density.draw_and_score(len(given), self._join(given, context))

    def _join(self, given: Tensor, context: Tensor | None) -> Tensor | None:
        if self.density.context_shape is None:
            return None
        return join(given, context if self.joined else None)
