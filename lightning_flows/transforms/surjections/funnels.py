"""Funnels: layers that drop dimensions and score what they drop (Klein et al. 2021)."""

from collections.abc import Sequence
from functools import partial
from typing import TypedDict

import torch
from torch import Tensor

from lightning_flows.bases.base import Density
from lightning_flows.bases.conditional import ConditionalNormal, ConvNormal
from lightning_flows.bases.given import DensityFactory, DensityGiven
from lightning_flows.core.errors import ConfigError, ShapeError
from lightning_flows.core.shapes import Shape, as_features, join, joined_shape
from lightning_flows.core.signatures import Options
from lightning_flows.core.support import REAL
from lightning_flows.transforms.base import Transform
from lightning_flows.transforms.bijections.autoregressive import Autoregressive
from lightning_flows.transforms.bijections.coupling import AdditiveCoupling, Coupling
from lightning_flows.transforms.bijections.linear import LULinear, Permutation
from lightning_flows.transforms.bijections.reshape import PerPosition, Squeeze
from lightning_flows.transforms.bijections.spline import RationalQuadratic
from lightning_flows.transforms.bijections.univariate import Affine, Univariate
from lightning_flows.transforms.chain import Chain

__all__ = ["AffineFunnel", "ConvFunnel", "Funnel", "MLPFunnel", "SplineFunnel"]


class Funnel(Transform):
    """z = f(x_a; x_b) with a map f of x_a that depends on x_b, which is dropped.

    x_a are the first entries of x along its first dimension, x_b are the others. The contribution
    log|det ∂f/∂x_a| + log p(x_b | z) is exact. Decoding draws x_b from p(x_b | z) and inverts f.
    Since p sees z, and not x_a, z can summarize x_b.

    Args:
        bijection: f, from reals to reals; its event is x_a, and its context x_b, or the vector of
            x_b and `context`.
        drop: number of entries of x_b along the first dimension.
        density: density p(x_b | z), or a factory; a `ConditionalNormal` by default, any
            flow is one too.
        context_shape: shape of what both depend on besides.

    Raises:
        ShapeError: the shapes do not fit, or f does not lead from reals to reals.
        ConfigError: f is no bijection.
    """

    def __init__(
        self,
        bijection: Transform,
        drop: int,
        *,
        density: Density | DensityFactory | None = None,
        context_shape: Sequence[int] | int | None = None,
    ) -> None:
        kept, *rest = bijection.event_shape
        super().__init__(
            (kept + drop, *rest),
            bijection.latent_shape,
            context_shape=context_shape,
            kind="inference surjection",
        )
        name = type(bijection).__name__
        seen = joined_shape((drop, *rest), self.context_shape)
        if bijection.kind != "bijection":
            raise ConfigError(f"{name} is no bijection ({bijection.kind}), which a funnel needs.")
        if bijection.context_shape not in (None, seen):
            raise ShapeError(
                f"{name} has context_shape {bijection.context_shape}; what a funnel drops, with "
                f"context, makes {seen}."
            )
        if {bijection.domain, bijection.codomain} - {None, REAL}:
            raise ShapeError(
                f"{name} leads from {bijection.domain} to {bijection.codomain}; a funnel needs a "
                "map from reals to reals."
            )
        self.bijection = bijection
        self.dropped = DensityGiven(
            density or ConditionalNormal, (drop, *rest), self.latent_shape, self.context_shape
        )
        self.sizes = [kept, drop]

    def encode(self, x: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        x_a, x_b = x.split(self.sizes, 1)
        z, contribution = self.bijection(x_a, self._seen(x_b, context))
        return z, contribution + self.dropped.score(x_b, z, context)

    def decode(self, z: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        x_b, log_p = self.dropped.draw(z, context)
        x_a, contribution = self.bijection.decode(z, self._seen(x_b, context))
        return torch.cat([x_a, x_b], 1), contribution + log_p

    def _seen(self, x_b: Tensor, context: Tensor | None) -> Tensor | None:
        if self.bijection.context_shape is None:
            return None
        return join(x_b, None if self.context_shape is None else context)


class FunnelOptions(TypedDict, total=False):
    """What affine and spline funnels take beside their univariate map; see `AffineFunnel`."""

    autoregressive: bool
    hidden: Sequence[int]
    activation: str
    density: Density | DensityFactory | None
    context_shape: Sequence[int] | int | None


class _UnivariateFunnel(Funnel):
    """A funnel whose f is monotone in each dimension of x_a."""

    def __init__(
        self,
        event_shape: Sequence[int] | int,
        latent_features: int,
        univariate: Univariate,
        *,
        autoregressive: bool = False,
        hidden: Sequence[int] = (128, 128),
        activation: str = "relu",
        density: Density | DensityFactory | None = None,
        context_shape: Sequence[int] | int | None = None,
    ) -> None:
        dropped = _dropped(as_features(event_shape, type(self).__name__), latent_features)
        seen = joined_shape((dropped,), context_shape)
        layer = Autoregressive if autoregressive else partial(Coupling, kept=0)
        bijection = layer(
            latent_features, univariate, hidden=hidden, activation=activation, context_shape=seen
        )
        super().__init__(bijection, dropped, density=density, context_shape=context_shape)


class AffineFunnel(_UnivariateFunnel):
    """Funnel with z = x_a·exp(s) + t, where s and t depend on x_b.

    Args:
        event_shape: shape of one data point: the number of dimensions D, or (D,).
        latent_features: number of dimensions of z.
        bound: largest absolute log-scale.
        autoregressive: whether s_j and t_j depend on the dimensions of x_a before j as well;
            decoding then goes through the dimensions of z one after the other.
        hidden: width of each hidden layer of the conditioner.
        activation: relu, silu, tanh, gelu, elu or softplus.
        density: density p(x_b | z), or a factory, as in `Funnel`.
        context_shape: shape of what the layer is conditioned on.

    Raises:
        ConfigError: `latent_features` is not between 1 and D - 1.
        ShapeError: events are no vectors.
    """

    def __init__(
        self,
        event_shape: Sequence[int] | int,
        latent_features: int,
        *,
        bound: float = 3.0,
        **options: Options[FunnelOptions],
    ) -> None:
        super().__init__(event_shape, latent_features, Affine(bound), **options)


class SplineFunnel(_UnivariateFunnel):
    """Funnel with a rational-quadratic spline of x_a whose knots depend on x_b.

    Args:
        event_shape: shape of one data point: the number of dimensions D, or (D,).
        latent_features: number of dimensions of z.
        bins: number of bins of each spline.
        bound: the spline lives on [-bound, bound] and is the identity outside.
        autoregressive: whether spline j depends on the dimensions of x_a before j as well;
            decoding then goes through the dimensions of z one after the other.
        hidden: width of each hidden layer of the conditioner.
        activation: relu, silu, tanh, gelu, elu or softplus.
        density: density p(x_b | z), or a factory, as in `Funnel`.
        context_shape: shape of what the layer is conditioned on.

    Raises:
        ConfigError: `latent_features` is not between 1 and D - 1.
        ShapeError: events are no vectors.
    """

    def __init__(
        self,
        event_shape: Sequence[int] | int,
        latent_features: int,
        *,
        bins: int = 8,
        bound: float = 5.0,
        **options: Options[FunnelOptions],
    ) -> None:
        super().__init__(event_shape, latent_features, RationalQuadratic(bins, bound), **options)


class MLPFunnel(Funnel):
    """Funnel with z = A·x_a + net(x_b), where A is an LU product.

    Args:
        event_shape: shape of one data point: the number of dimensions D, or (D,).
        latent_features: number of dimensions of z.
        hidden: width of each hidden layer of the network; none makes it linear.
        activation: relu, silu, tanh, gelu, elu or softplus.
        density: density p(x_b | z), or a factory, as in `Funnel`.
        context_shape: shape of what the layer is conditioned on.

    Raises:
        ConfigError: `latent_features` is not between 1 and D - 1.
        ShapeError: events are no vectors.
    """

    def __init__(
        self,
        event_shape: Sequence[int] | int,
        latent_features: int,
        *,
        hidden: Sequence[int] = (),
        activation: str = "relu",
        density: Density | DensityFactory | None = None,
        context_shape: Sequence[int] | int | None = None,
    ) -> None:
        dropped = _dropped(as_features(event_shape, type(self).__name__), latent_features)
        seen = joined_shape((dropped,), context_shape)
        bijection = _matrix_and_shift(latent_features, seen, hidden, activation)
        super().__init__(bijection, dropped, density=density, context_shape=context_shape)


class ConvFunnel(Chain):
    """A convolution whose stride is its kernel's side, with as many channels as before.

    The restricted convolution of Klein et al. (2021): each window of kernel × kernel pixels gives
    one pixel z = A·x_a + net(x_b), where x_a is the last pixel of the window, and x_b are the
    others. Without hidden layers that is an ordinary convolution.

    Args:
        event_shape: (channels, height, width).
        kernel: side of a window; must divide height and width.
        hidden: width of each hidden layer of the network; none makes it linear.
        activation: relu, silu, tanh, gelu, elu or softplus.
        density: density of the dropped pixels, channels of an image as large as z, or what makes
            one; a `ConvNormal` by default, which sees a neighborhood of z.

    Raises:
        ShapeError: the event is no image, or its sides are not multiples of `kernel`.
        ConfigError: `kernel` is less than 2.
    """

    def __init__(
        self,
        event_shape: Sequence[int] | int,
        kernel: int = 2,
        *,
        hidden: Sequence[int] = (),
        activation: str = "relu",
        density: Density | DensityFactory | None = None,
    ) -> None:
        if kernel < 2:
            raise ConfigError(f"kernel is {kernel}; accepted are integers from 2 up.")
        windows = Squeeze(event_shape, kernel)
        channels, (n, height, width) = windows.event_shape[0], windows.latent_shape
        last = [*range(kernel**2 - 1, n, kernel**2)]
        order = last + [i for i in range(n) if i not in last]
        bijection = _matrix_and_shift(channels, (n - channels,), hidden, activation)
        funnel = Funnel(
            PerPosition(bijection, (height, width)), n - channels, density=density or ConvNormal
        )
        super().__init__([windows, Permutation(windows.latent_shape, order), funnel])


def _matrix_and_shift(
    features: int, seen: Shape, hidden: Sequence[int], activation: str
) -> Transform:
    shift = AdditiveCoupling(
        features, kept=0, hidden=hidden, activation=activation, context_shape=seen
    )
    return Chain([LULinear(features), shift])


def _dropped(features: int, latent_features: int) -> int:
    if not 1 <= latent_features < features:
        raise ConfigError(
            f"latent_features is {latent_features}; of {features} features "
            f"accepted are 1 to {features - 1}."
        )
    return features - latent_features
