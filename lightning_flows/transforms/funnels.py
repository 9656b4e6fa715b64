"""Funnels: layers that drop dimensions and score what they drop (Klein et al. 2021)."""

from collections.abc import Sequence
from typing import TypedDict, Unpack

import torch
from torch import Tensor

from lightning_flows.bases.conditional import (
    ConditionalNormal,
    ConvNormal,
    DensityFactory,
    conditional,
)
from lightning_flows.errors import ConfigError, ShapeError
from lightning_flows.shapes import Shape, as_shape, size
from lightning_flows.transforms.autoregressive import Autoregressive
from lightning_flows.transforms.base import Transform
from lightning_flows.transforms.chain import Chain
from lightning_flows.transforms.coupling import AdditiveCoupling, Coupling
from lightning_flows.transforms.linear import LULinear, Permutation
from lightning_flows.transforms.reshape import PerPosition, Squeeze
from lightning_flows.transforms.spline import RationalQuadratic
from lightning_flows.transforms.univariate import Affine, Univariate

__all__ = ["AffineFunnel", "ConvFunnel", "Funnel", "MLPFunnel", "SplineFunnel"]


class Funnel(Transform):
    """z = f(x_a; x_b) with a bijection f of x_a that depends on x_b, which is dropped.

    x_a are the first entries of x along its first dimension, x_b are the others. The contribution
    log|det ∂f/∂x_a| + log p(x_b | z) is exact: encoding takes no random numbers. Decoding draws
    x_b from p(x_b | z) and inverts f. Since p sees z, and not x_a, z can summarise x_b.

    Args:
        bijection: f; its event is x_a, and its context is x_b, or the vector of x_b and `context`.
        dropped_shape: shape of x_b; it may differ from that of x_a in the first entry only.
        density: makes p(x_b | z) from the shapes of x_b and z (or of the vector of z and
            `context`); a `ConditionalNormal` unless given, any flow is one too.
        context_shape: shape of what the layer is conditioned on.

    Raises:
        ShapeError: the shapes do not fit, or `bijection` is none.
    """

    def __init__(
        self,
        bijection: Transform,
        dropped_shape: Sequence[int] | int,
        *,
        density: DensityFactory = ConditionalNormal,
        context_shape: Sequence[int] | int | None = None,
    ) -> None:
        kept, dropped = bijection.event_shape, as_shape(dropped_shape, "dropped_shape")
        if kept[1:] != dropped[1:]:
            raise ShapeError(
                f"x_a has shape {kept}, x_b {dropped}; they may differ in the first entry only."
            )
        if bijection.kind != "bijection" or bijection.latent_shape != kept:
            raise ShapeError(
                f"Funnel needs a bijection that keeps the shape; {type(bijection).__name__} is a "
                f"{bijection.kind} from {kept} to {bijection.latent_shape}."
            )
        super().__init__(
            (kept[0] + dropped[0], *kept[1:]),
            kept,
            context_shape=context_shape,
            domain=bijection.domain,
            codomain=bijection.codomain,
        )
        self.kind = "inference surjection"
        seen = _joint_shape(dropped, self.context_shape)
        if bijection.context_shape != seen:
            raise ShapeError(
                f"{type(bijection).__name__} has context_shape {bijection.context_shape}; "
                f"what it is to depend on has shape {seen}."
            )
        self.bijection = bijection
        self.density = conditional(density, dropped, _joint_shape(kept, self.context_shape))

    def encode(self, x: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        kept, dropped = x.tensor_split([self.latent_shape[0]], 1)
        z, contribution = self.bijection(kept, self._joint(dropped, context))
        return z, contribution + self.density(dropped, self._joint(z, context))

    def decode(self, z: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        seen = self._joint(z, context)
        dropped = self.density.draw(len(z), seen)
        kept, contribution = self.bijection.decode(z, self._joint(dropped, context))
        return torch.cat([kept, dropped], 1), contribution + self.density(dropped, seen)

    def _joint(self, part: Tensor, context: Tensor | None) -> Tensor:
        if self.context_shape is None or context is None:
            return part
        return torch.cat([part.flatten(1), context.flatten(1).to(part.dtype)], 1)


class FunnelOptions(TypedDict, total=False):
    """What affine and spline funnels take beside their univariate map; see `AffineFunnel`."""

    autoregressive: bool
    hidden: Sequence[int]
    activation: str
    density: DensityFactory
    context_shape: Sequence[int] | int | None


class _UnivariateFunnel(Funnel):
    """A funnel whose f is monotone in each dimension of x_a."""

    def __init__(
        self,
        features: int,
        latent_features: int,
        univariate: Univariate,
        *,
        autoregressive: bool = False,
        hidden: Sequence[int] = (128, 128),
        activation: str = "relu",
        density: DensityFactory = ConditionalNormal,
        context_shape: Sequence[int] | int | None = None,
    ) -> None:
        dropped = _dropped(features, latent_features)
        seen = _joint_shape(dropped, context_shape)
        bijection: Transform
        if autoregressive:
            bijection = Autoregressive(
                latent_features,
                univariate,
                hidden=hidden,
                activation=activation,
                context_shape=seen,
            )
        else:
            bijection = Coupling(
                latent_features,
                univariate,
                kept=0,
                hidden=hidden,
                activation=activation,
                context_shape=seen,
            )
        super().__init__(bijection, dropped, density=density, context_shape=context_shape)


class AffineFunnel(_UnivariateFunnel):
    """Funnel with z = x_a·exp(s) + t, where s and t depend on x_b.

    Args:
        features: number of dimensions D.
        latent_features: number of dimensions of z.
        bound: largest absolute log-scale.
        autoregressive: whether s_j and t_j depend on the dimensions of x_a before j as well;
            decoding then goes through the dimensions of z one after the other.
        hidden: width of each hidden layer of the conditioner.
        activation: relu, silu, tanh, gelu, elu or softplus.
        density: makes p(x_b | z), as in `Funnel`.
        context_shape: shape of what the layer is conditioned on.

    Raises:
        ConfigError: `latent_features` is not between 1 and D - 1.
    """

    def __init__(
        self,
        features: int,
        latent_features: int,
        *,
        bound: float = 3.0,
        **options: Unpack[FunnelOptions],
    ) -> None:
        super().__init__(features, latent_features, Affine(bound), **options)


class SplineFunnel(_UnivariateFunnel):
    """Funnel with a rational-quadratic spline of x_a whose knots depend on x_b.

    Args:
        features: number of dimensions D.
        latent_features: number of dimensions of z.
        bins: number of bins of each spline.
        bound: the spline lives on [-bound, bound] and is the identity outside.
        autoregressive: whether spline j depends on the dimensions of x_a before j as well;
            decoding then goes through the dimensions of z one after the other.
        hidden: width of each hidden layer of the conditioner.
        activation: relu, silu, tanh, gelu, elu or softplus.
        density: makes p(x_b | z), as in `Funnel`.
        context_shape: shape of what the layer is conditioned on.

    Raises:
        ConfigError: `latent_features` is not between 1 and D - 1.
    """

    def __init__(
        self,
        features: int,
        latent_features: int,
        *,
        bins: int = 8,
        bound: float = 5.0,
        **options: Unpack[FunnelOptions],
    ) -> None:
        super().__init__(features, latent_features, RationalQuadratic(bins, bound), **options)


class MLPFunnel(Funnel):
    """Funnel with z = A·x_a + net(x_b), where A is an LU product.

    Args:
        features: number of dimensions D.
        latent_features: number of dimensions of z.
        hidden: width of each hidden layer of the network; none makes it linear.
        activation: relu, silu, tanh, gelu, elu or softplus.
        density: makes p(x_b | z), as in `Funnel`.
        context_shape: shape of what the layer is conditioned on.

    Raises:
        ConfigError: `latent_features` is not between 1 and D - 1.
    """

    def __init__(
        self,
        features: int,
        latent_features: int,
        *,
        hidden: Sequence[int] = (),
        activation: str = "relu",
        density: DensityFactory = ConditionalNormal,
        context_shape: Sequence[int] | int | None = None,
    ) -> None:
        dropped = _dropped(features, latent_features)
        seen = _joint_shape(dropped, context_shape)
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
        density: makes the density of the dropped pixels, channels of an image as large as z; a
            `ConvNormal` unless given, which sees a neighbourhood of z.

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
        density: DensityFactory = ConvNormal,
    ) -> None:
        if kernel < 2:
            raise ConfigError(f"kernel is {kernel}; accepted are integers from 2 up.")
        windows = Squeeze(event_shape, kernel)
        channels, (n, height, width) = windows.event_shape[0], windows.latent_shape
        last = [*range(kernel**2 - 1, n, kernel**2)]
        order = last + [i for i in range(n) if i not in last]
        bijection = _matrix_and_shift(channels, (n - channels,), hidden, activation)
        funnel = Funnel(
            PerPosition(bijection, (height, width)), (n - channels, height, width), density=density
        )
        super().__init__([windows, Permutation(windows.latent_shape, order), funnel])


def _matrix_and_shift(
    features: int, seen: Shape, hidden: Sequence[int], activation: str
) -> Transform:
    shift = AdditiveCoupling(
        features, kept=0, hidden=hidden, activation=activation, context_shape=seen
    )
    return Chain([LULinear(features), shift])


def _dropped(features: int, latent_features: int) -> Shape:
    if not 1 <= latent_features < features:
        raise ConfigError(
            f"latent_features is {latent_features}; of {features} features "
            f"accepted are 1 to {features - 1}."
        )
    return (features - latent_features,)


def _joint_shape(part: Shape, context_shape: Sequence[int] | int | None) -> Shape:
    """Shape of what a part of the data and the context make together."""
    return part if context_shape is None else (size(part) + size(as_shape(context_shape)),)
