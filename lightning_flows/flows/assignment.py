"""Assignment flows: probabilities of discrete variables by continuous flows of their logits."""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from lightning_flows.bases.base import Density
from lightning_flows.bases.normal import normal_log_prob
from lightning_flows.core.errors import ConfigError, check_least, check_positive
from lightning_flows.core.noise import normal_noise
from lightning_flows.core.shapes import Shape, as_shape, size
from lightning_flows.flows.continuous import make_field
from lightning_flows.flows.transport import FieldFlow, Transport
from lightning_flows.nets.fields import FieldFactory, VectorField
from lightning_flows.transforms import Argmax, Chain, Reshape, Transform

__all__ = ["AssignmentFlow"]


class AssignmentFlow(FieldFlow):
    """Probability of n discrete variables: noise follows a field, and its arg-max says the classes.

    A point of the product of n simplices is softmax(z), with c logits z for each variable, and in
    these coordinates e-geodesics are straight: z(t) = z₀ + t T Π₀e_y leads noise z₀ ~ N(0, I)
    towards the vertex of the labels y, where Π₀ takes the mean off the logits of each variable
    (Boll et al. 2024, arXiv 2402.07846, 2406.04527). The field that leads noise to the law of y is
    T·E[Π₀e_y | z(t)], so the network is a classifier: its logits are those of independent uniform
    labels, t T z, plus what the vector field of `field` gives, which is zero at the start.

    A label is the arg-max at time 1, so P(y) is the mass of a cell of logits, and `log_prob` is a
    lower bound of log P(y): E_q[log p₁(z) - log q(z)] for a q inside of the cell, which is
    N(T Π₀e_y, I) with what lies beyond the cell pushed into it (`Argmax`). Without that, with
    q = N(T Π₀e_y, I) on all of space, the same expression would be log P(y) plus the mean of
    -log p(y | z) and look better than the truth, the more so the smaller T is.

    Samples are labels, whole numbers from 0 up as floating-point numbers. Latents are noise, the
    logits of one variable next to each other.

    Args:
        event_shape: shape of one data point.
        classes: number of classes of all variables, or of each column.
        field: makes the vector field that is added to the logits, from their number, n·c where all
            variables have c classes; a `FieldMLP` by default.
        horizon: the time T that e-geodesics run; below about 8 labels do not follow from z(1), and
            samples are further from the data.
        draws: number of draws of q that the bound is the mean of; `estimate` gives its standard
            error.
        probes: as in `ContinuousFlow`, of the logits' divergence.
        steps: as in `ContinuousFlow`.
        tolerance: as in `ContinuousFlow`.
        context_shape: shape of what the probability is conditioned on.

    Raises:
        ConfigError: a number out of range, or classes that do not fit the shape.
        ShapeError: the field is one of other shapes.
    """

    def __init__(
        self,
        event_shape: Sequence[int] | int,
        *,
        classes: int | Sequence[int] = 2,
        field: FieldFactory | None = None,
        horizon: float = 8.0,
        draws: int = 1,
        probes: int | None = None,
        steps: int | None = None,
        tolerance: float = 1e-5,
        context_shape: Sequence[int] | int | None = None,
    ) -> None:
        shape = as_shape(event_shape)
        widths = _classes_of_each(shape, classes)
        check_positive(horizon=horizon)
        check_least(1, draws=draws)
        net = make_field(field, (sum(widths),), context_shape)
        transport = Transport(
            _Classifier(net, widths, horizon), probes=probes, steps=steps, tolerance=tolerance
        )
        lift: Transform = Argmax(widths, density=_Vertices(widths, horizon))
        if len(shape) > 1:
            lift = Chain([Reshape(shape, size(shape)), lift])
        super().__init__(transport, lift=lift)
        self.classes = tuple(widths)
        self.draws = draws

    def endpoints(self, x: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        classifier = self.field
        assert isinstance(classifier, _Classifier)
        noise = self.base.draw(len(x))
        return noise, noise + classifier.vertex(x.flatten(1))

    def log_prob(self, x: Tensor, context: Tensor | None = None) -> Tensor:
        if self.draws == 1:
            return super().log_prob(x, context)
        return self._drawn(x, context, self.draws).mean(1)


class _Vertices(Density):
    """q(u | y) = N(T Π₀e_y, I), given one-hot labels."""

    width: Tensor

    def __init__(self, widths: Sequence[int], horizon: float) -> None:
        super().__init__(sum(widths), sum(widths))
        self.horizon = horizon
        self.register_buffer("width", _widths(widths), persistent=False)

    def log_prob(self, x: Tensor, context: Tensor | None = None) -> Tensor:
        self.check(x, context)
        assert context is not None
        return normal_log_prob(x, self._vertex(context), torch.zeros_like(x))

    def draw(self, n: int, context: Tensor | None = None, temperature: float = 1.0) -> Tensor:
        assert context is not None
        return self._vertex(context) + temperature * normal_noise(context.shape, context)

    def _vertex(self, one_hot: Tensor) -> Tensor:
        return self.horizon * (one_hot - 1 / self.width.to(one_hot))


class _Classifier(VectorField):
    """T·Π₀ softmax(t T z + net(z, t)), where z are logits without their means."""

    column: Tensor
    meaning: Tensor
    width: Tensor

    def __init__(self, net: VectorField, widths: Sequence[int], horizon: float) -> None:
        super().__init__(net.event_shape, net.context_shape)
        self.net = net
        self.widths = list(widths)
        self.horizon = horizon
        column = [i for i, width in enumerate(widths) for _ in range(width)]
        meaning = [k for width in widths for k in range(width)]
        self.register_buffer("column", torch.tensor(column), persistent=False)
        self.register_buffer("meaning", torch.tensor(meaning), persistent=False)
        self.register_buffer("width", _widths(widths), persistent=False)

    def forward(self, x: Tensor, t: Tensor, context: Tensor | None = None) -> Tensor:
        time = self.horizon * t[:, None]
        z = self._each(x, lambda part: part - part.mean(-1, keepdim=True))
        logits = time * z + self.net(z / (1 + time), t, context)
        shares = self._each(logits, lambda part: part.softmax(-1))
        return self.horizon * (shares - 1 / self.width.to(shares))

    def vertex(self, labels: Tensor) -> Tensor:
        """T Π₀e_y of labels: (batch, variables) -> (batch, logits)."""
        one_hot = (labels[:, self.column] == self.meaning).to(labels)
        return self.horizon * (one_hot - 1 / self.width.to(one_hot))

    def _each(self, x: Tensor, function: Callable[[Tensor], Tensor]) -> Tensor:
        """A function of the logits of one variable, along the last dimension, for each variable."""
        if len(set(self.widths)) == 1:
            return function(x.unflatten(1, (-1, self.widths[0]))).flatten(1)
        return torch.cat([function(part) for part in x.split(self.widths, 1)], 1)


def _widths(widths: Sequence[int]) -> Tensor:
    """Number of classes of the variable that a logit belongs to."""
    return torch.tensor([width for width in widths for _ in range(width)])


def _classes_of_each(shape: Shape, classes: int | Sequence[int]) -> list[int]:
    """Number of classes of each variable.

    Raises:
        ConfigError: there are none, or as many as do not fit the shape.
    """
    check_least(2, classes=classes)
    if isinstance(classes, int):
        return [classes] * size(shape)
    if len(shape) != 1 or len(classes) != shape[0]:
        raise ConfigError(
            f"classes is {list(classes)} for events of shape {shape}; accepted are one number for "
            "all variables, or one for each column of a table."
        )
    return list(classes)
