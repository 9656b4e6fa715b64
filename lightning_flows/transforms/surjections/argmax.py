"""From categories to densities: the argmax surjection."""

import math
from collections.abc import Sequence
from typing import Literal

import torch
from torch import Tensor
from torch.nn import functional as F

from lightning_flows.bases.base import Density
from lightning_flows.bases.conditional import ConditionalNormal
from lightning_flows.bases.given import DensityFactory, DensityGiven
from lightning_flows.core.errors import ConfigError
from lightning_flows.core.noise import Reproducible, uniform_noise
from lightning_flows.core.shapes import check_batch, sum_event
from lightning_flows.core.support import Levels, by_columns
from lightning_flows.transforms.base import Transform

__all__ = ["Argmax"]

_SLOPE = 1.702  # the logistic distribution function is then within 0.01 of the normal one


class Argmax(Transform):
    """Categories to real vectors whose largest entry says the category (Hoogeboom et al. 2021).

    A generative surjection, so the likelihood is a lower bound. `decode` takes the argmax of each
    column's share of v. `encode` draws u ~ q(u | x) and pushes it to where the argmax is x: T, the
    entry of u that belongs to x, stays, and the others become v < T with F(v) = F(T)·F(u). The
    contribution is -log q(v | x), which is -log q(u | x) plus the log-slopes of that map. F is the
    logistic distribution function that comes closest to the normal one: normal noise becomes
    nearly the normal density below T, where the softplus of the paper keeps away from T, and
    weights of an importance-weighted bound run away.

    The binary encoding needs ⌈log₂ classes⌉ entries, with T = 0: the signs of v are the bits of a
    number, which counts the categories again from the first one where it exceeds them. A category
    with two numbers is given one of them at random.

    In single precision v has few digits next to T, so there `decode` gives the contribution with an
    error. A number that is no category of its column has log-probability -inf.

    Args:
        classes: number of categories of each column; x holds one number from 0 up for each.
        encoding: whether a category takes an entry of v of its own, or bits.
        density: density q of u given the categories (one-hot, or bits), or a factory; a
            `ConditionalNormal` by default. It lives on all reals.
        context_shape: shape of what the density depends on besides.

    Raises:
        ConfigError: no column, one with fewer than two categories, or an unknown encoding.
    """

    column: Tensor
    meaning: Tensor
    count: Tensor
    largest: Tensor

    def __init__(
        self,
        classes: Sequence[int],
        *,
        encoding: Literal["one-hot", "binary"] = "one-hot",
        density: Density | DensityFactory | None = None,
        context_shape: Sequence[int] | int | None = None,
    ) -> None:
        classes = list(classes)
        if not classes or min(classes) < 2:
            raise ConfigError(f"classes is {classes}; accepted are integers from 2 up.")
        if encoding not in ("one-hot", "binary"):
            raise ConfigError(f"encoding is {encoding!r}; accepted are 'one-hot' and 'binary'.")
        binary = encoding == "binary"
        widths = [(n - 1).bit_length() if binary else n for n in classes]
        super().__init__(
            len(classes),
            sum(widths),
            context_shape=context_shape,
            kind="generative surjection",
            domain=by_columns([Levels(0, n) for n in classes]),
        )
        self.binary = binary
        self.widths = widths
        self.noise = DensityGiven(
            density or ConditionalNormal, self.latent_shape, self.latent_shape, self.context_shape
        )
        # which column an entry of v belongs to, and which category or value of a bit it stands for
        column = [i for i, width in enumerate(widths) for _ in range(width)]
        meaning = [2**k if binary else k for width in widths for k in range(width)]
        largest = [2**width - 1 for width in widths] if binary else [n - 1 for n in classes]
        self.register_buffer("column", torch.tensor(column), persistent=False)
        self.register_buffer("meaning", torch.tensor(meaning), persistent=False)
        self.register_buffer("count", torch.tensor(classes), persistent=False)
        self.register_buffer("largest", torch.tensor(largest), persistent=False)

    def encode(self, x: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        check_batch(x, self.event_shape, "x")
        like = x if x.is_floating_point() else x.to(torch.get_default_dtype())
        like = like.to(torch.promote_types(like.dtype, torch.float32))
        with Reproducible(x.long(), not self.training):
            pattern, log_codes = self._pattern(like)
            u, _ = self.noise.draw(pattern, context)
        on = pattern > 0
        top = torch.zeros_like(u) if self.binary else self._top(u, on)
        # 1 + exp(-sv) = (1 + exp(-sT))·(1 + exp(-su))
        below = -torch.stack([-top, -u, -top - u]).mul(_SLOPE).logsumexp(0) / _SLOPE
        # rounding must not make the others as large as the largest
        below = torch.minimum(below, top - 4 * torch.finfo(u.dtype).eps * (1 + top.detach().abs()))
        v = torch.where(on, -below if self.binary else u, below)
        contribution = self._log_slopes(u, below, top, on) + log_codes
        contribution = contribution - self.noise.score(u, pattern, context)
        possible = ((like >= 0) & (like < self.count) & (like == like.floor())).all(1)
        return v, torch.where(possible, contribution, -torch.inf)

    def decode(self, z: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        check_batch(z, self.latent_shape, "z")
        if self.binary:
            on = z > 0
            code = self._sum_columns(torch.where(on, self.meaning, 0).to(z.dtype))
            x = code % self.count
            log_codes = self._log_codes(x)
            top, below = torch.zeros_like(z), -z.abs()
        else:
            x = torch.stack([part.argmax(1) for part in z.split(self.widths, 1)], 1).to(z.dtype)
            on = self._one_hot(x)
            log_codes = z.new_zeros(len(z))
            top = self._top(z, on)
            below = torch.where(on, top - 1, z)
        # exp(-su) = (exp(-sv) - exp(-sT)) / (1 + exp(-sT)), with the slope s of F
        gap = (_SLOPE * (top - below)).clamp(min=torch.finfo(z.dtype).tiny)
        u = below - (torch.log(-torch.expm1(-gap)) - F.softplus(-_SLOPE * top)) / _SLOPE
        u = u if self.binary else torch.where(on, z, u)
        slopes = self._log_slopes(u, below, top, on)
        return x, slopes + log_codes - self.noise.score(u, on.to(z.dtype), context)

    def _pattern(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Which entries of v are on, as numbers (batch, latents), and the log-number of codes."""
        if not self.binary:
            return self._one_hot(x).to(x.dtype), x.new_zeros(len(x))
        second = x + self.count  # a number that counts the same category again
        again = (uniform_noise(x.shape, x) < 0.5) & (second <= self.largest)
        code = torch.where(again, second, x)[:, self.column]
        bits = (code / self.meaning).floor() % 2
        return bits, self._log_codes(x)

    def _log_codes(self, x: Tensor) -> Tensor:
        """Log of how many numbers stand for the categories: (batch,)."""
        return math.log(2) * (x + self.count <= self.largest).to(x.dtype).sum(1)

    def _log_slopes(self, u: Tensor, below: Tensor, top: Tensor, on: Tensor) -> Tensor:
        """Of the map from u to what lies below the top, summed: (batch,)."""
        slopes = F.logsigmoid(_SLOPE * top) + _log_density(u) - _log_density(below)
        return sum_event(slopes if self.binary else torch.where(on, 0.0, slopes))

    def _one_hot(self, x: Tensor) -> Tensor:
        return x[:, self.column] == self.meaning

    def _top(self, u: Tensor, on: Tensor) -> Tensor:
        """The entry that is on, at all entries of its column."""
        return self._sum_columns(torch.where(on, u, 0.0))[:, self.column]

    def _sum_columns(self, values: Tensor) -> Tensor:
        """Sum over the entries of each column: (batch, latents) -> (batch, columns)."""
        return torch.stack([part.sum(1) for part in values.split(self.widths, 1)], 1)


def _log_density(u: Tensor) -> Tensor:
    """Of F, but for a constant."""
    return F.logsigmoid(_SLOPE * u) + F.logsigmoid(-_SLOPE * u)
