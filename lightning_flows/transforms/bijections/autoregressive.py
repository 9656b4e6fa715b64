"""Autoregressive layers: dimension j is mapped given all dimensions before it."""

from collections.abc import Sequence
from typing import TypedDict

import torch
from torch import Tensor

from lightning_flows.core.shapes import as_features, size
from lightning_flows.core.signatures import Options
from lightning_flows.core.support import REAL, Support, set_of_each
from lightning_flows.nets.masked import MaskedMLP
from lightning_flows.transforms.base import Transform
from lightning_flows.transforms.bijections.columns import Shown, mapped_by, part_of, spline_on
from lightning_flows.transforms.bijections.univariate import Affine, Univariate

__all__ = ["AffineAutoregressive", "Autoregressive", "SplineAutoregressive"]


class AutoregressiveOptions(TypedDict, total=False):
    """What every autoregressive layer takes beside its univariate map; see `Autoregressive`."""

    hidden: Sequence[int]
    activation: str
    reverse: bool
    context_shape: Sequence[int] | int | None


class Autoregressive(Transform):
    """z_j = u(x_j; net(x_1 … x_{j-1}, context)) with a monotone u.

    Encoding costs one pass of the masked network. Decoding goes through the dimensions one after
    the other; every hidden unit is computed once, so it costs about the operations of one pass.

    Args:
        event_shape: shape of one data point: the number of dimensions D, or (D,).
        univariate: the map u. Where it maps angles, networks see their cosine and sine, so that
            the whole map is continuous where -π and π meet.
        hidden: width of each hidden layer of the masked network.
        activation: relu, silu, tanh, gelu, elu or softplus.
        reverse: go through the dimensions from the last to the first.
        context_shape: shape of what the map is conditioned on.

    Raises:
        ShapeError: events are no vectors.
    """

    def __init__(
        self,
        event_shape: Sequence[int] | int,
        univariate: Univariate,
        *,
        hidden: Sequence[int] = (128, 128),
        activation: str = "relu",
        reverse: bool = False,
        context_shape: Sequence[int] | int | None = None,
    ) -> None:
        support = mapped_by(univariate)
        features = as_features(event_shape, type(self).__name__)
        super().__init__(features, context_shape=context_shape, domain=support, codomain=support)
        order = slice(None, None, -1 if reverse else 1)
        sets = set_of_each(support, features)[order]
        self.univariate = part_of(univariate, order)
        self.parts = [part_of(self.univariate, slice(j, j + 1)) for j in range(features)]
        self.shown = Shown(sets)
        self.shown_each = [Shown([each]) for each in sets]
        self.reverse = reverse
        self.net = MaskedMLP(
            features,
            univariate.size,
            hidden=hidden,
            activation=activation,
            context_features=0 if self.context_shape is None else size(self.context_shape),
            zero_last=True,
            inputs=self.shown.counts,
        )

    def encode(self, x: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        z, log_slope = self.encode_each(x, context)
        return z, log_slope.sum(1)

    def encode_each(self, x: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        x = self._ordered(x)
        context = self._flat(context, x)
        seen = self.shown(x)
        h = self.net(seen if context is None else torch.cat([context, seen], 1))
        z, log_slope = self.univariate.encode(x, h.to(x.dtype))  # autocast stays outside
        return self._ordered(z), self._ordered(log_slope)

    def decode(self, z: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        steps = self.net.steps(len(z), self._flat(context, z))
        xs, log_slopes = [], []
        columns = zip(self._ordered(z).split(1, 1), self.parts, self.shown_each, strict=True)
        for z_j, univariate, shown in columns:
            h = steps.outputs()[:, :, None].to(z.dtype)
            x_j, log_slope = univariate.decode(z_j, h)
            steps.push(shown(x_j))
            xs.append(x_j)
            log_slopes.append(log_slope)
        return self._ordered(torch.cat(xs, 1)), torch.cat(log_slopes, 1).sum(1)

    def _ordered(self, x: Tensor) -> Tensor:
        return x.flip(1) if self.reverse else x

    def _flat(self, context: Tensor | None, like: Tensor) -> Tensor | None:
        if self.context_shape is None or context is None:
            return None
        return context.flatten(1).to(like.dtype)


class AffineAutoregressive(Autoregressive):
    """Autoregressive layer with z = x·exp(s) + t (MAF, Papamakarios et al. 2017).

    Args:
        event_shape: shape of one data point: the number of dimensions D, or (D,).
        bound: largest absolute log-scale.
        options: those of `Autoregressive`.
    """

    def __init__(
        self,
        event_shape: Sequence[int] | int,
        *,
        bound: float = 3.0,
        **options: Options[AutoregressiveOptions],
    ) -> None:
        super().__init__(event_shape, Affine(bound), **options)


class SplineAutoregressive(Autoregressive):
    """Autoregressive layer with a rational-quadratic spline (Durkan et al. 2019).

    On angles it is that of Rezende et al. 2020.

    Args:
        event_shape: shape of one data point: the number of dimensions D, or (D,).
        bins: number of bins of each spline.
        bound: the spline lives on [-bound, bound] and is the identity outside.
        support: set that data lies in: all reals, angles, `Torus(n)`, an `Interval` with two ends,
            or a set for each column: `Columns([Torus(1), Interval()])`.
        options: those of `Autoregressive`.
    """

    def __init__(
        self,
        event_shape: Sequence[int] | int,
        *,
        bins: int = 8,
        bound: float = 5.0,
        support: Support = REAL,
        **options: Options[AutoregressiveOptions],
    ) -> None:
        features = as_features(event_shape, type(self).__name__)
        spline = spline_on(support, (features,), bins, bound)
        super().__init__(features, spline, **options)
