"""Coupling layers: one half of the dimensions decides how the other half is mapped."""

from collections.abc import Sequence
from typing import TypedDict

import torch
from torch import Tensor

from lightning_flows.core.errors import ConfigError, ShapeError
from lightning_flows.core.shapes import as_shape, size, sum_event
from lightning_flows.core.signatures import Options
from lightning_flows.core.support import REAL, Support, set_of_each
from lightning_flows.nets.convolutional import make_conv_net
from lightning_flows.nets.mlp import Net, check_net, make_net
from lightning_flows.transforms.base import Transform
from lightning_flows.transforms.bijections.columns import Shown, mapped_by, part_of, spline_on
from lightning_flows.transforms.bijections.univariate import Additive, Affine, Univariate

__all__ = ["AdditiveCoupling", "AffineCoupling", "Coupling", "SplineCoupling"]


class CouplingOptions(TypedDict, total=False):
    """What every coupling layer takes beside its univariate map; see `Coupling`."""

    net: Net | None
    hidden: Sequence[int]
    activation: str
    residual: bool
    kept: int | None
    swap: bool
    context_shape: Sequence[int] | int | None


class Coupling(Transform):
    """z = [x_a, u(x_b; net(x_a, context))] with a monotone u for each entry of x_b.

    The halves x_a and x_b are slices along the first dimension of an event, the features of a
    vector or the channels of an image: no index is gathered. With one feature x_a is empty, and u
    depends on context alone. Both directions cost one pass.

    Args:
        event_shape: shape of one data point: D features, or (channels, height, width).
        univariate: the map u. Where it maps angles, networks see their cosine and sine, so that
            the whole map is continuous where -π and π meet.
        net: makes the conditioner from its numbers of inputs and outputs, which for images are
            channels; by default, an MLP or residual MLP with the next three options, or for
            images a `ConvNet` with the next two.
        hidden: width of each hidden layer.
        activation: relu, silu, tanh, gelu, elu or softplus.
        residual: whether the network is made of residual blocks; not for images.
        kept: number of features or channels of x_a, which stay as they are; half of them by
            default, rounded up with `swap` and down without, so that the two layers together show
            every feature to a network and map every one. With 0 all are mapped, given context
            alone; not for images.
        swap: map the first half given the second one.
        context_shape: shape of what the map is conditioned on; every pixel sees all of it.

    Raises:
        ShapeError: neither a vector nor an image of two channels or more, or a network that is
            made for other inputs.
        ConfigError: `kept` leaves nothing to map, or nothing to see.
    """

    def __init__(
        self,
        event_shape: Sequence[int] | int,
        univariate: Univariate,
        *,
        net: Net | None = None,
        hidden: Sequence[int] = (128, 128),
        activation: str = "relu",
        residual: bool = False,
        kept: int | None = None,
        swap: bool = False,
        context_shape: Sequence[int] | int | None = None,
    ) -> None:
        support = mapped_by(univariate)
        super().__init__(event_shape, context_shape=context_shape, domain=support, codomain=support)
        features, *sides = self.event_shape
        if sides and (len(sides) != 2 or features == 1):
            raise ShapeError(
                f"event_shape is {self.event_shape}; a coupling takes (features,), or "
                "(channels, height, width) with 2 channels or more: Squeeze makes four of one."
            )
        if kept is None:
            kept = (features + 1) // 2 if swap and features > 1 else features // 2
        least = 1 if sides else 0
        if not least <= kept < features:
            raise ConfigError(f"kept is {kept}; accepted are {least} to {features - 1}.")
        context_features = 0 if self.context_shape is None else size(self.context_shape)
        self.swap = swap
        self.halves = [features - kept, kept] if swap else [kept, features - kept]
        first, second = slice(self.halves[0]), slice(self.halves[0], None)
        seen, mapped = (second, first) if swap else (first, second)
        self.univariate = part_of(univariate, mapped)
        self.shown = Shown(set_of_each(support, features)[seen])
        given = net is not None
        if net is None and sides:
            net = make_conv_net(hidden, activation)
        elif net is None:
            net = make_net(hidden, activation, residual=residual, zero_last=True)
        inputs = sum(self.shown.counts) + context_features
        outputs = univariate.size * (features - kept)
        self.net = net(inputs, outputs)
        if given:
            check_net(self.net, (inputs, *sides), (outputs, *sides))

    def encode(self, x: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        kept, changed, h = self._split(x, context)
        changed, log_slope = self.univariate.encode(changed, h)
        return self._join(kept, changed), sum_event(log_slope)

    def decode(self, z: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        kept, changed, h = self._split(z, context)
        changed, log_slope = self.univariate.decode(changed, h)
        return self._join(kept, changed), sum_event(log_slope)

    def encode_each(self, x: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        kept, changed, h = self._split(x, context)
        changed, log_slope = self.univariate.encode(changed, h)
        return self._join(kept, changed), self._join(torch.zeros_like(kept), log_slope)

    def _split(self, x: Tensor, context: Tensor | None) -> tuple[Tensor, Tensor, Tensor]:
        first, second = x.split(self.halves, 1)
        kept, changed = (second, first) if self.swap else (first, second)
        inputs = self.shown(kept)
        if self.context_shape is not None and context is not None:
            rows = context.flatten(1).to(kept.dtype)
            rows = rows.reshape(*rows.shape, *[1] * (x.ndim - 2))
            inputs = torch.cat([inputs, rows.expand(-1, -1, *x.shape[2:])], 1)
        h = self.net(inputs).to(x.dtype)  # autocast must not reach the map itself
        h = h.unflatten(1, (self.univariate.size, changed.shape[1]))
        return kept, changed, h

    def _join(self, kept: Tensor, changed: Tensor) -> Tensor:
        return torch.cat([changed, kept] if self.swap else [kept, changed], 1)


class AffineCoupling(Coupling):
    """Coupling with z = x·exp(s) + t (RealNVP, Dinh et al. 2017).

    Args:
        event_shape: shape of one data point: D features, or (channels, height, width).
        bound: largest absolute log-scale.
        options: those of `Coupling`.
    """

    def __init__(
        self,
        event_shape: Sequence[int] | int,
        *,
        bound: float = 3.0,
        **options: Options[CouplingOptions],
    ) -> None:
        super().__init__(event_shape, Affine(bound), **options)


class AdditiveCoupling(Coupling):
    """Coupling with z = x + t, which keeps the volume (NICE, Dinh et al. 2015).

    Args:
        event_shape: shape of one data point: D features, or (channels, height, width).
        options: those of `Coupling`.
    """

    def __init__(
        self, event_shape: Sequence[int] | int, **options: Options[CouplingOptions]
    ) -> None:
        super().__init__(event_shape, Additive(), **options)
        self.volume_preserving = True


class SplineCoupling(Coupling):
    """Coupling with a rational-quadratic spline (Durkan et al. 2019).

    On angles it is that of Rezende et al. 2020.

    Args:
        event_shape: shape of one data point: D features, or (channels, height, width).
        bins: number of bins of each spline.
        bound: the spline lives on [-bound, bound] and is the identity outside.
        support: set that data lies in. Vectors may be angles, `Torus(n)`, lie in an `Interval`
            with two ends, or have a set for each column: `Columns([Torus(1), Interval()])`.
        options: those of `Coupling`.
    """

    def __init__(
        self,
        event_shape: Sequence[int] | int,
        *,
        bins: int = 8,
        bound: float = 5.0,
        support: Support = REAL,
        **options: Options[CouplingOptions],
    ) -> None:
        spline = spline_on(support, as_shape(event_shape), bins, bound)
        super().__init__(event_shape, spline, **options)
