"""Coupling layers: one half of the dimensions decides how the other half is mapped."""

from collections.abc import Sequence
from typing import TypedDict, Unpack

import torch
from torch import Tensor

from lightning_flows.errors import ConfigError
from lightning_flows.nets.mlp import Net, make_net
from lightning_flows.shapes import size
from lightning_flows.transforms.base import Transform
from lightning_flows.transforms.spline import RationalQuadratic
from lightning_flows.transforms.univariate import Additive, Affine, Univariate

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
    """z = [x_a, u(x_b; net(x_a, context))] with a monotone u for each dimension of x_b.

    Halves are slices: no index is gathered. With one dimension x_a is empty, and u depends on
    context alone. Both directions cost one pass.

    Args:
        features: number of dimensions D.
        univariate: the map u.
        net: makes the conditioner from its numbers of inputs and outputs; an MLP or residual MLP
            with the next three options unless given.
        hidden: width of each hidden layer.
        activation: relu, silu, tanh, gelu, elu or softplus.
        residual: whether the network is made of residual blocks.
        kept: number of dimensions of x_a, which stay as they are; half of D unless given. With 0
            all are mapped, given context alone.
        swap: map the first dimensions given the last ones.
        context_shape: shape of what the map is conditioned on.

    Raises:
        ConfigError: `kept` is not between 0 and D - 1.
    """

    def __init__(
        self,
        features: int,
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
        super().__init__(features, context_shape=context_shape)
        if features < 1:
            raise ConfigError(f"features is {features}; accepted are positive integers.")
        kept = features // 2 if kept is None else kept
        if not 0 <= kept < features:
            raise ConfigError(f"kept is {kept}; accepted are 0 to {features - 1}.")
        context_features = 0 if self.context_shape is None else size(self.context_shape)
        self.univariate = univariate
        self.swap = swap
        self.halves = [features - kept, kept] if swap else [kept, features - kept]
        net = net or make_net(hidden, activation, residual=residual, zero_last=True)
        self.net = net(kept + context_features, univariate.size * (features - kept))

    def encode(self, x: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        kept, changed, h = self._split(x, context)
        changed, log_slope = self.univariate.encode(changed, h)
        return self._join(kept, changed), log_slope.sum(1)

    def decode(self, z: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        kept, changed, h = self._split(z, context)
        changed, log_slope = self.univariate.decode(changed, h)
        return self._join(kept, changed), log_slope.sum(1)

    def _split(self, x: Tensor, context: Tensor | None) -> tuple[Tensor, Tensor, Tensor]:
        first, second = x.split(self.halves, 1)
        kept, changed = (second, first) if self.swap else (first, second)
        inputs = kept
        if self.context_shape is not None and context is not None:
            inputs = torch.cat([kept, context.flatten(1).to(kept.dtype)], 1)
        h = self.net(inputs).to(x.dtype)  # autocast must not reach the map itself
        h = h.unflatten(1, (self.univariate.size, changed.shape[1]))
        return kept, changed, h

    def _join(self, kept: Tensor, changed: Tensor) -> Tensor:
        return torch.cat([changed, kept] if self.swap else [kept, changed], 1)


class AffineCoupling(Coupling):
    """Coupling with z = x·exp(s) + t (RealNVP, Dinh et al. 2017).

    Args:
        features: number of dimensions D.
        bound: largest absolute log-scale.
        options: those of `Coupling`.
    """

    def __init__(
        self, features: int, *, bound: float = 3.0, **options: Unpack[CouplingOptions]
    ) -> None:
        super().__init__(features, Affine(bound), **options)


class AdditiveCoupling(Coupling):
    """Coupling with z = x + t, which keeps the volume (NICE, Dinh et al. 2015).

    Args:
        features: number of dimensions D.
        options: those of `Coupling`.
    """

    def __init__(self, features: int, **options: Unpack[CouplingOptions]) -> None:
        super().__init__(features, Additive(), **options)


class SplineCoupling(Coupling):
    """Coupling with a rational-quadratic spline (Durkan et al. 2019).

    Args:
        features: number of dimensions D.
        bins: number of bins of each spline.
        bound: the spline lives on [-bound, bound] and is the identity outside.
        options: those of `Coupling`.
    """

    def __init__(
        self,
        features: int,
        *,
        bins: int = 8,
        bound: float = 5.0,
        **options: Unpack[CouplingOptions],
    ) -> None:
        super().__init__(features, RationalQuadratic(bins, bound), **options)
