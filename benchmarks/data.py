"""The data sets of the quality comparison, fixed once for all candidates and seeds."""

import math
from collections.abc import Callable
from dataclasses import dataclass, replace

import torch
from torch import Tensor

__all__ = ["DATASETS", "Split", "checkerboard", "digits", "moons"]


@dataclass(frozen=True)
class Split:
    """Standardized data, (n, D) each, and what turns a mean log-density into one of the data.

    Args:
        train: what is trained on.
        val: what chooses the checkpoint.
        test: what is reported.
        offset: mean log |det| of the preprocessing over the test data, in nats.
        levels: number of gray levels, where the data is discrete.
    """

    train: Tensor
    val: Tensor
    test: Tensor
    offset: float = 0.0
    levels: int | None = None

    def first(self, n: int | None) -> "Split":
        """The first n rows of every part; all if n is None."""
        return replace(self, train=self.train[:n], val=self.val[:n], test=self.test[:n])

    def bits_per_dim(self, nats: float) -> float | None:
        """Bits per dimension of gray levels from nats of the data scaled to (0, 1)."""
        if self.levels is None:
            return None
        return (math.log(self.levels) - nats / self.test.shape[1]) / math.log(2)


def moons() -> Split:
    """Two half circles with noise 0.05, standardized by constants; nats of standardized data."""
    from sklearn.datasets import make_moons

    points = torch.tensor(make_moons(30_000, noise=0.05, random_state=0)[0])
    points = (points - torch.tensor([0.5, 0.25])) / torch.tensor([0.87, 0.5])
    return _cut(points.float(), 18_000, 2_000)


def checkerboard() -> Split:
    """Uniform on 8 of the 16 unit squares of [-2, 2]²; the best possible is -log 8 = -2.079."""
    n, generator = 30_000, torch.Generator().manual_seed(0)
    column = torch.randint(0, 4, (n,), generator=generator)
    row = 2 * torch.randint(0, 2, (n,), generator=generator) + column % 2
    points = torch.stack([column, row], 1) + torch.rand(n, 2, generator=generator) - 2
    return _cut(points, 18_000, 2_000)


def digits(alpha: float = 0.05) -> Split:
    """8 x 8 digits: one draw of uniform dequantization, logit, standardized.

    Mean and scale are those of the training and validation parts.

    Args:
        alpha: how far the logit draws in the ends of the unit interval.
    """
    from sklearn.datasets import load_digits

    generator = torch.Generator().manual_seed(0)
    images = torch.tensor(load_digits().data)
    x = (images + torch.rand(images.shape, generator=generator, dtype=images.dtype)) / 17
    x = x[torch.randperm(len(x), generator=generator)]
    y = alpha + (1 - 2 * alpha) * x
    log_slope = (math.log(1 - 2 * alpha) - y.log() - (-y).log1p()).sum(1)
    z, train, val = y.logit(), 1250, 187
    scale = z[: train + val].std(0).clamp(min=0.05)
    z = (z - z[: train + val].mean(0)) / scale
    offset = log_slope[train + val :].mean() - scale.log().sum()
    return replace(_cut(z.float(), train, val), offset=offset.item(), levels=17)


def _cut(points: Tensor, train: int, val: int) -> Split:
    return Split(*points.split([train, val, len(points) - train - val]))


DATASETS: dict[str, Callable[[], Split]] = {
    "moons": moons,
    "checkerboard": checkerboard,
    "digits": digits,
}
