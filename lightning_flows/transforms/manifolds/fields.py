"""Functions of a point that say where a hypersurface lies: radii and heights."""

import math
from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn
from torch.func import vjp

from lightning_flows.core.errors import ConfigError, check_positive
from lightning_flows.core.hypersurfaces import LpSphere, log_norm
from lightning_flows.core.inference import outside_inference_mode, recordable
from lightning_flows.core.recipe import Recorded
from lightning_flows.core.shapes import Shape, as_features, as_shape, join, size
from lightning_flows.core.signatures import takes
from lightning_flows.core.support import Support
from lightning_flows.nets import MLP

__all__ = ["FieldFactory", "LearnedField", "LpRadius", "ScalarField", "field_of", "log_with_one"]


class ScalarField(Recorded, nn.Module):
    """A smooth number for each point: the log-radius of a direction, or the height of a graph.

    Subclasses implement `value`, row by row; its slope is found by reverse mode.

    Args:
        event_shape: the number of entries of a point, or (entries,).
        context_shape: shape of what the field is conditioned on, or None.

    Attributes:
        surface: the hypersurface that it makes, where one can say which points belong to it;
            else points beside it are scored as those that they are sent to.
        positive: of a radius, whether directions are those with entries from 0 up.

    Raises:
        ShapeError: points are no vectors.
    """

    def __init__(
        self,
        event_shape: Sequence[int] | int,
        context_shape: Sequence[int] | int | None = None,
    ) -> None:
        super().__init__()
        self.event_shape: Shape = (as_features(event_shape, type(self).__name__),)
        self.context_shape: Shape | None = (
            None if context_shape is None else as_shape(context_shape, "context_shape")
        )
        self.surface: Support | None = None
        self.positive = False

    def value(self, x: Tensor, context: Tensor | None = None) -> Tensor:
        """The number of each point, (batch,).

        Args:
            x: points, (batch, *event_shape).
            context: (batch, *context_shape), or None.
        """
        raise NotImplementedError

    def forward(self, x: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Values (batch,) and slopes (batch, *event_shape), both with a graph."""
        with outside_inference_mode():
            given = None if context is None else recordable(context)
            values, pull = vjp(lambda x: self.value(x, given), recordable(x))[:2]
            (slopes,) = pull(torch.ones_like(values))
        return values, slopes


FieldFactory = Callable[[Shape], ScalarField]
"""Makes a field from the shape of its points, and from `context_shape` where it takes one."""


class LpRadius(ScalarField):
    """Radius of the level set ‖x‖_p = k: r(n) = k / ‖n‖_p in the direction n.

    For p = 2 it is the sphere of radius k, and for p = 1 with `positive` the simplex times k. For
    p < 1 the set has cusps. The field is log r.

    Args:
        event_shape: the number of entries of a point, or (entries,).
        p: exponent, positive; below 1 as well.
        level: k; None where its logarithm is the first entry of the context.
        positive: only directions with entries from 0 up.
        context_shape: shape of the context; what `level` is known without is not conditioned on it.

    Raises:
        ConfigError: p or the level is not positive, or a level should come from no context.
        ShapeError: points are no vectors.
    """

    def __init__(
        self,
        event_shape: Sequence[int] | int,
        *,
        p: float = 2.0,
        level: float | None = 1.0,
        positive: bool = False,
        context_shape: Sequence[int] | int | None = None,
    ) -> None:
        check_positive(p=p, level=level)
        if level is None and context_shape is None:
            raise ConfigError(
                "level is None, so that it comes from the context; there is no context_shape."
            )
        super().__init__(event_shape, context_shape if level is None else None)
        self.p = float(p)
        self.positive = positive
        self.surface = LpSphere(self.event_shape[0] - 1, self.p, level, positive)

    def value(self, x: Tensor, context: Tensor | None = None) -> Tensor:
        assert isinstance(self.surface, LpSphere)
        if self.surface.level is not None:
            return math.log(self.surface.level) - log_norm(x, self.p)
        assert context is not None
        return context.flatten(1)[:, 0].to(x.dtype) - log_norm(x, self.p)


class LearnedField(ScalarField):
    """A network's output o between two ends, b tanh(o / b).

    Args:
        event_shape: the number of entries of a point, or (entries,).
        hidden: width of each hidden layer.
        activation: silu, tanh, gelu, elu or softplus; of relu the slope would have jumps.
        bound: b, the largest absolute value: as a log-radius, radii lie between e⁻ᵇ and eᵇ.
        context_shape: shape of what the field is conditioned on, or None.

    Raises:
        ConfigError: an option is out of range.
        ShapeError: points are no vectors.
    """

    def __init__(
        self,
        event_shape: Sequence[int] | int,
        *,
        hidden: Sequence[int] = (64, 64),
        activation: str = "silu",
        bound: float = 3.0,
        context_shape: Sequence[int] | int | None = None,
    ) -> None:
        check_positive(bound=bound)
        if activation == "relu":
            raise ConfigError(
                "activation is 'relu'; accepted are silu, tanh, gelu, elu and softplus, whose "
                "slopes are continuous."
            )
        super().__init__(event_shape, context_shape)
        given = 0 if self.context_shape is None else size(self.context_shape)
        self.net = MLP(self.event_shape[0] + given, 1, hidden=hidden, activation=activation)
        self.bound = float(bound)

    def value(self, x: Tensor, context: Tensor | None = None) -> Tensor:
        out: Tensor = self.net(join(x, context)).to(x.dtype)[:, 0]
        return self.bound * torch.tanh(out / self.bound)


def field_of(
    make: FieldFactory, features: int, context_shape: Sequence[int] | int | None
) -> ScalarField:
    """A field of points with so many entries, given context where it takes some."""
    if context_shape is not None and takes(make, "context_shape"):
        return make((features,), context_shape=context_shape)  # type: ignore[call-arg] # it does
    return make((features,))


def log_with_one(slope: Tensor) -> Tensor:
    """½ log(1 + ‖slope‖²) of slopes of any size: (batch, features) -> (batch,)."""
    most = slope.detach().abs().amax(1).clamp(min=1)
    squares = (slope / most[:, None]).square().sum(1)
    return most.log() + 0.5 * (most.pow(-2) + squares).log()
