"""What a convolution does before its weights: pad the image, and cut it into windows."""

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from lightning_flows.errors import ConfigError, ShapeError
from lightning_flows.shapes import Shape, as_shape, size
from lightning_flows.transforms.base import Transform
from lightning_flows.transforms.linear import as_channels

__all__ = ["NoisePad", "Tiles"]


class _Noisy(Transform):
    """A map that adds normal numbers, with a learned scale for each channel.

    Args:
        event_shape: (channels, height, width).
        latent_shape: shape of one latent; it holds as many numbers or more.
        noise: standard deviation at the start.
    """

    def __init__(self, event_shape: Shape, latent_shape: Shape, noise: float) -> None:
        if not noise > 0:
            raise ConfigError(f"noise is {noise}; accepted are positive numbers.")
        added = size(latent_shape) - size(event_shape)
        kind = "generative surjection" if added else "bijection"
        super().__init__(event_shape, latent_shape, kind=kind)  # type: ignore[arg-type]
        self.added = added // event_shape[0]  # for each channel
        if added:
            self.log_noise = nn.Parameter(torch.full(event_shape[:1], math.log(noise)))

    def _entropy(self, standardised: Tensor) -> Tensor:
        """-log q of noise, given as if its scale were 1 with zeros where there is none."""
        squares = 0.5 * standardised.square().flatten(1).sum(1)
        half = 0.5 * math.log(2 * math.pi)
        return squares + self.added * (self.log_noise + half).sum()


class NoisePad(_Noisy):
    """Pads an image with normal noise; `decode` crops. The contribution is -log q(noise).

    Args:
        event_shape: (channels, height, width).
        padding: columns on the left and on the right, rows at the top and at the bottom.
        noise: standard deviation of the noise at the start; it is learned for each channel.

    Raises:
        ShapeError: the event is no image.
        ConfigError: a negative padding, or a noise that is not positive.
    """

    mask: Tensor

    def __init__(
        self, event_shape: Sequence[int] | int, padding: Sequence[int], *, noise: float = 1.0
    ) -> None:
        shape = _image(event_shape)
        if len(padding) != 4 or min(padding) < 0:
            raise ConfigError(
                f"padding is {list(padding)}; accepted are four numbers from 0 up: "
                "left, right, top, bottom."
            )
        left, right, top, bottom = padding
        channels, height, width = shape
        super().__init__(shape, (channels, height + top + bottom, width + left + right), noise)
        self.padding = (left, right, top, bottom)
        inside = torch.ones(height, width)
        self.register_buffer("mask", 1 - F.pad(inside, self.padding))

    def encode(self, x: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        z = F.pad(x, self.padding)
        if not self.added:
            return z, x.new_zeros(len(x))
        noise = torch.randn_like(z) * self.mask
        scale = as_channels(self.log_noise, x).exp()
        return z + scale * noise, self._entropy(noise)

    def decode(self, z: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        left, _, top, _ = self.padding
        _, height, width = self.event_shape
        x = z[:, :, top : top + height, left : left + width]
        if not self.added:
            return x, z.new_zeros(len(z))
        return x, self._entropy(z * self.mask * (-as_channels(self.log_noise, z)).exp())


class Tiles(_Noisy):
    """Windows of an image become channels, as in the matrix form of a convolution.

    A pixel that N windows cover becomes N numbers x + e, where the normal noise e sums to zero;
    `decode` takes their mean (Máté et al. 2022). Copies without noise would have no density. The
    contribution is ½ log N - log q(e) for each pixel and channel, and 0 where no windows overlap.

    Args:
        event_shape: (channels, height, width).
        kernel: height and width of a window.
        stride: rows and columns from one window to the next.
        noise: standard deviation of the noise at the start; it is learned for each channel.

    Raises:
        ShapeError: the event is no image, or a pixel is in no window.
        ConfigError: a noise that is not positive.
    """

    copies: Tensor

    def __init__(
        self,
        event_shape: Sequence[int] | int,
        kernel: Sequence[int],
        stride: Sequence[int],
        *,
        noise: float = 1.0,
    ) -> None:
        channels, height, width = _image(event_shape)
        rows, columns = as_shape(kernel, "kernel")
        steps = as_shape(stride, "stride")
        h, w = (height - rows) // steps[0] + 1, (width - columns) // steps[1] + 1
        reached = ((h - 1) * steps[0] + rows, (w - 1) * steps[1] + columns)
        gaps = (steps[0] > rows and h > 1) or (steps[1] > columns and w > 1)
        if reached != (height, width) or gaps or min(h, w) < 1:
            raise ShapeError(
                f"Windows of {rows} × {columns} pixels with stride {steps[0]} × {steps[1]} "
                f"do not reach every pixel of an image of {height} × {width}."
            )
        super().__init__((channels, height, width), (channels * rows * columns, h, w), noise)
        self.kernel, self.stride = (rows, columns), (steps[0], steps[1])
        ones = torch.ones(1, rows * columns, h * w)
        copies = F.fold(ones, (height, width), self.kernel, stride=self.stride)[0, 0]
        self.register_buffer("copies", copies)
        self.stretch = 0.5 * channels * copies.double().log().sum().item()

    def encode(self, x: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        z = self._cut(x)
        if not self.added:
            return z, x.new_zeros(len(x))
        noise = torch.randn_like(z)
        noise = noise - self._cut(self._mean(noise))
        return z + self._scale(z) * noise, self.stretch + self._entropy(noise)

    def decode(self, z: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        x = self._mean(z)
        if not self.added:
            return x, z.new_zeros(len(z))
        return x, self.stretch + self._entropy((z - self._cut(x)) / self._scale(z))

    def _cut(self, x: Tensor) -> Tensor:
        """Windows as channels: (batch, C, H, W) -> (batch, C · rows · columns, h, w)."""
        flat = F.unfold(x, self.kernel, stride=self.stride)
        tiles: Tensor = flat.unflatten(2, self.latent_shape[1:])
        return tiles

    def _mean(self, tiles: Tensor) -> Tensor:
        """Mean over the copies of every pixel: the way back."""
        _, height, width = self.event_shape
        sums = F.fold(tiles.flatten(2), (height, width), self.kernel, stride=self.stride)
        return sums / self.copies

    def _scale(self, like: Tensor) -> Tensor:
        """Scale of the noise for each entry of a window, shaped to broadcast against it."""
        return as_channels(self.log_noise.exp().repeat_interleave(math.prod(self.kernel)), like)


def _image(event_shape: Sequence[int] | int) -> Shape:
    shape = as_shape(event_shape)
    if len(shape) != 3:
        raise ShapeError(f"event_shape is {shape}; expected is (channels, height, width).")
    return shape
