"""Networks of images: conditioners of couplings, encoders and decoders of free-form flows."""

import math
from collections.abc import Sequence
from functools import partial

import torch
from torch import Tensor, nn

from lightning_flows.core.errors import ConfigError, ShapeError, check_least
from lightning_flows.core.shapes import Shape
from lightning_flows.nets.mlp import Net, activation_named, zero
from lightning_flows.nets.network import Network

__all__ = ["Attention", "ConvDecoder", "ConvEncoder", "ConvNet", "make_conv_net"]


class ConvNet(Network):
    """Convolutions that keep the sides: (batch, in, H, W) -> (batch, out, H, W).

    Of size 3 first and last, of size 1 between them, as in the couplings of Glow (Kingma and
    Dhariwal 2018). Nothing is normalized: couplings of one flow follow an ActNorm each.

    Args:
        in_channels: number of channels that come in.
        out_channels: number of channels that go out.
        hidden: number of channels of each hidden layer.
        activation: relu, silu, tanh, gelu, elu or softplus.
        zero_last: start with an output of zero, so that a transform starts as the identity.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        *,
        hidden: Sequence[int] = (64, 64),
        activation: str = "silu",
        zero_last: bool = False,
    ) -> None:
        super().__init__()
        check_least(1, hidden=hidden)
        layers: list[nn.Module] = []
        width = in_channels
        for following in hidden:
            size = 1 if layers else 3
            layers += [
                nn.Conv2d(width, following, size, padding=size // 2),
                activation_named(activation),
            ]
            width = following
        last = nn.Conv2d(width, out_channels, 3, padding=1)
        if zero_last:
            zero(last)
        self.layers = nn.Sequential(*layers, last)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.layers(x)
        return out


def make_conv_net(hidden: Sequence[int], activation: str) -> Net:
    """The conditioner that couplings of images describe by two plain options."""
    return partial(ConvNet, hidden=hidden, activation=activation, zero_last=True)


class ConvEncoder(nn.Module):
    """Convolutions of stride 2, then a linear layer: (batch, C, H, W) -> (batch, features).

    Normalization is over groups of channels of each image: train-mode batch normalization would
    make the Jacobian of one sample depend on the others.

    Args:
        event_shape: (channels, height, width); sides that are multiples of 2 ** len(channels).
        features: number of latents d.
        channels: channels after each halving of the sides.
        activation: silu, tanh, gelu, elu or softplus.
        attention: whether self-attention over pixels follows the last convolution.

    Raises:
        ConfigError: no channels, or a number of them that is not positive.
        ShapeError: the sides cannot be halved as often.
    """

    def __init__(
        self,
        event_shape: Shape,
        features: int,
        *,
        channels: Sequence[int] = (32, 64),
        activation: str = "silu",
        attention: bool = False,
    ) -> None:
        super().__init__()
        smallest = _smallest(event_shape, channels)
        layers: list[nn.Module] = []
        width = event_shape[0]
        for following in channels:
            layers += [
                nn.Conv2d(width, following, 4, stride=2, padding=1),
                _norm(following),
                activation_named(activation),
            ]
            width = following
        if attention:
            layers.append(Attention(width))
        pixels = width * smallest[0] * smallest[1]
        self.layers = nn.Sequential(*layers, nn.Flatten(), nn.Linear(pixels, features))

    def forward(self, x: Tensor) -> Tensor:
        z: Tensor = self.layers(x)
        return z


class ConvDecoder(nn.Module):
    """The mirror image of `ConvEncoder`: (batch, features) -> (batch, C, H, W).

    Args:
        event_shape: (channels, height, width); sides that are multiples of 2 ** len(channels).
        features: number of latents d.
        channels: channels of the encoder after each halving of the sides.
        activation: silu, tanh, gelu, elu or softplus.
        attention: whether self-attention over pixels precedes the first convolution.

    Raises:
        ConfigError: no channels, or a number of them that is not positive.
        ShapeError: the sides cannot be halved as often.
    """

    def __init__(
        self,
        event_shape: Shape,
        features: int,
        *,
        channels: Sequence[int] = (32, 64),
        activation: str = "silu",
        attention: bool = False,
    ) -> None:
        super().__init__()
        smallest = _smallest(event_shape, channels)
        width = channels[-1]
        layers: list[nn.Module] = [
            nn.Linear(features, width * smallest[0] * smallest[1]),
            nn.Unflatten(1, (width, *smallest)),
        ]
        if attention:
            layers.append(Attention(width))
        for following in (*reversed(channels[:-1]), event_shape[0]):
            layers += [
                _norm(width),
                activation_named(activation),
                nn.ConvTranspose2d(width, following, 4, stride=2, padding=1),
            ]
            width = following
        self.layers = nn.Sequential(*layers)

    def forward(self, z: Tensor) -> Tensor:
        x: Tensor = self.layers(z)
        return x


class Attention(nn.Module):
    """x + self-attention over pixels, zero at the start: (batch, C, H, W) -> the same.

    The softmax is written out: fused attention has neither forward-mode nor second derivatives.

    Args:
        channels: number of channels C.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.norm = nn.GroupNorm(1, channels)
        self.queries_keys_values = nn.Conv2d(channels, 3 * channels, 1)
        self.out = nn.Conv2d(channels, channels, 1)
        zero(self.out)

    def forward(self, x: Tensor) -> Tensor:
        q, k, v = self.queries_keys_values(self.norm(x)).flatten(2).chunk(3, 1)
        weights = torch.softmax(q.mT @ k / x.shape[1] ** 0.5, 2)
        out: Tensor = x + self.out((v @ weights.mT).unflatten(2, x.shape[2:]))
        return out


def _norm(channels: int) -> nn.GroupNorm:
    """Up to eight groups of four channels or more: alone, one pixel would be normalized to zero."""
    return nn.GroupNorm(math.gcd(8, channels, max(1, channels // 4)), channels)


def _smallest(event_shape: Shape, channels: Sequence[int]) -> Shape:
    """Sides after all halvings."""
    check_least(1, channels=channels)
    if not channels:
        raise ConfigError("channels is empty; accepted are one number or more.")
    factor = 2 ** len(channels)
    if len(event_shape) != 3 or event_shape[1] % factor or event_shape[2] % factor:
        raise ShapeError(
            f"event_shape is {event_shape}; {len(channels)} halvings take (channels, height, "
            f"width) with sides that are multiples of {factor}."
        )
    return event_shape[1] // factor, event_shape[2] // factor
