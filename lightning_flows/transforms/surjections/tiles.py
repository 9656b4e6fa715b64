"""What a convolution does before its weights: pad the image, and cut it into windows."""

import math
from collections.abc import Sequence
from functools import partial

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from lightning_flows.bases.normal import Normal
from lightning_flows.core.errors import ConfigError, ShapeError, check_positive
from lightning_flows.core.noise import Reproducible, normal_noise
from lightning_flows.core.shapes import Shape, as_shape, size
from lightning_flows.transforms.base import Transform
from lightning_flows.transforms.bijections.linear import Permutation, as_channels
from lightning_flows.transforms.bijections.reshape import Reshape
from lightning_flows.transforms.chain import Chain
from lightning_flows.transforms.surjections.slicing import Augment

__all__ = ["NoisePad", "Tiles"]


class NoisePad(Chain):
    """Pads an image with normal noise; `decode` crops. The contribution is -log q(noise).

    An `Augment` with unconditional normal noise, whose pixels then take their places.

    Args:
        event_shape: (channels, height, width).
        padding: columns on the left and on the right, rows at the top and at the bottom.
        noise: standard deviation of the noise at the start; it is learned for each entry, as is
            the mean.

    Raises:
        ShapeError: the event is no image.
        ConfigError: a negative padding, none at all, or a noise that is not positive.
    """

    def __init__(
        self, event_shape: Sequence[int] | int, padding: Sequence[int], *, noise: float = 1.0
    ) -> None:
        channels, height, width = _image(event_shape)
        if len(padding) != 4 or min(padding) < 0 or not any(padding):
            raise ConfigError(
                f"padding is {list(padding)}; accepted are four numbers from 0 up, not all zero: "
                "left, right, top, bottom."
            )
        left, right, top, bottom = padding
        n, sides = height * width, (height + top + bottom, width + left + right)
        total = size(sides)
        # which pixel stands where: those of the image are the first n, in order
        image = torch.arange(n).reshape(height, width)
        places = F.pad(image, (left, right, top, bottom), value=-1).flatten()
        places[places < 0] = torch.arange(n, total)
        added = Augment(
            (channels, n),
            total - n,
            dim=1,
            density=partial(Normal, scale=noise, learned=True),
        )
        super().__init__(
            [
                Reshape((channels, height, width), (channels, n)),
                added,
                Permutation((channels, total), places.tolist(), dim=1),
                Reshape((channels, total), (channels, *sides)),
            ]
        )


class Tiles(Transform):
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
        check_positive(noise=noise)
        self.added = rows * columns * h * w - height * width  # for each channel
        super().__init__(
            (channels, height, width),
            (channels * rows * columns, h, w),
            kind="generative surjection" if self.added else "bijection",
            volume_preserving=not self.added,
        )
        if self.added:
            self.log_noise = nn.Parameter(torch.full((channels,), math.log(noise)))
        self.kernel, self.stride = (rows, columns), (steps[0], steps[1])
        ones = torch.ones(1, rows * columns, h * w)
        copies = F.fold(ones, (height, width), self.kernel, stride=self.stride)[0, 0]
        self.register_buffer("copies", copies)
        self.stretch = 0.5 * channels * copies.double().log().sum().item()

    def encode(self, x: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        z = self._cut(x)
        if not self.added:
            return z, x.new_zeros(len(x))
        with Reproducible(x, not self.training):
            noise = normal_noise(z.shape, z)
        noise = noise - self._cut(self._mean(noise))
        return z + self._scale(z) * noise, self.stretch + self._entropy(noise)

    def decode(self, z: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        x = self._mean(z)
        if not self.added:
            return x, z.new_zeros(len(z))
        return x, self.stretch + self._entropy((z - self._cut(x)) / self._scale(z))

    def _entropy(self, standardized: Tensor) -> Tensor:
        """-log q of noise, given as if its scale were 1: (batch,), nats."""
        squares = 0.5 * standardized.square().flatten(1).sum(1)
        half = 0.5 * math.log(2 * math.pi)
        return squares + self.added * (self.log_noise + half).sum()

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
