"""The contract of a density: `log_prob` and `sample`, with or without context."""

from collections.abc import Sequence

from torch import Tensor, nn

from lightning_flows.errors import ShapeError
from lightning_flows.shapes import Shape, as_shape, check_batch

__all__ = ["Density"]


class Density(nn.Module):
    """A density on events of one shape. Bases are densities, and so is every flow.

    Subclasses implement `log_prob` and `draw`.

    Args:
        event_shape: shape of one point.
        context_shape: shape of what the density is conditioned on, or None.
        support: lowest and highest value an entry of an event can take.
    """

    def __init__(
        self,
        event_shape: Sequence[int] | int,
        context_shape: Sequence[int] | int | None = None,
        support: tuple[float, float] = (-float("inf"), float("inf")),
    ) -> None:
        super().__init__()
        self.event_shape: Shape = as_shape(event_shape)
        self.context_shape: Shape | None = (
            None if context_shape is None else as_shape(context_shape, "context_shape")
        )
        self.support = support

    def log_prob(self, x: Tensor, context: Tensor | None = None) -> Tensor:
        """Log-density at x.

        Args:
            x: points, (batch, *event_shape).
            context: (batch, *context_shape), or None for an unconditional density.

        Returns:
            (batch,), nats.
        """
        raise NotImplementedError

    def draw(self, n: int, context: Tensor | None = None, temperature: float = 1.0) -> Tensor:
        """Draw n points, one for each row of context where there is context: (n, *event_shape)."""
        raise NotImplementedError

    def sample(self, n: int, context: Tensor | None = None, temperature: float = 1.0) -> Tensor:
        """Draw points; reparametrised where the density is.

        Args:
            n: number of points, for each row of context where there is context.
            context: (batch, *context_shape), or None for an unconditional density.
            temperature: factor on the standard deviation of the base; 1 is the density itself.

        Returns:
            (n, *event_shape), or with context (batch, n, *event_shape).

        Raises:
            ShapeError: context is missing, superfluous or of the wrong shape.
        """
        check_context(self.context_shape, context)
        if context is None:
            return self.draw(n, None, temperature)
        rows = context.repeat_interleave(n, 0)
        return self.draw(len(rows), rows, temperature).unflatten(0, (len(context), n))


def check_context(shape: Shape | None, context: Tensor | None) -> None:
    """Refuse context where none is expected, and the other way round.

    Raises:
        ShapeError: says which.
    """
    if shape is None:
        if context is not None:
            raise ShapeError("context was given, but the density has no context_shape.")
    elif context is None:
        raise ShapeError(f"context is missing; expected is one of shape (batch, *{shape}).")
    else:
        check_batch(context, shape, "context")
