"""Layers of ordinary networks as transforms with a likelihood (Máté et al. 2022, Flowification)."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from lightning_flows.bases.base import Density
from lightning_flows.bases.conditional import ConditionalNormal, ConvNormal
from lightning_flows.bases.given import DensityFactory, DensityGiven
from lightning_flows.core.errors import ShapeError
from lightning_flows.core.kinds import Kind
from lightning_flows.core.linalg import solve_triangular
from lightning_flows.core.noise import Reproducible
from lightning_flows.core.shapes import as_shape, size, sum_event
from lightning_flows.transforms.base import Transform
from lightning_flows.transforms.bijections.linear import (
    along_channels,
    as_channels,
    full_precision,
    reflect,
)
from lightning_flows.transforms.bijections.spline import RationalQuadratic
from lightning_flows.transforms.chain import Chain
from lightning_flows.transforms.surjections.tiles import NoisePad, Tiles

__all__ = ["FlowConv2d", "FlowLinear", "SplineActivation"]

SMALLEST = 1e-6  # diagonal entry, relative to the largest: a singular weight has no decoder


class FlowLinear(Transform):
    """z = W·x + b with a weight of any shape, as a linear layer of a network.

    With r = min(n, m), W is L·S·Q₁ᵀ, or Q₁·S·Lᵀ where m > n: L is triangular with a positive
    diagonal, S a diagonal of fixed signs, and Q₁ are the first r columns of an orthogonal Q, a
    product of r Householder reflections, which is as many as it takes to reach every weight of
    full rank. Q₂ are the other columns.

    Where the layer reduces (m < n), Q₂ᵀ·x is dropped and scored by p(Q₂ᵀ·x | z): an inference
    surjection, exact. Where it expands, u ~ q(u | x) is drawn and Q₂·u is added to z: a generative
    surjection with contribution -log q(u | x), a bound. Else it is a bijection.

    Args:
        in_features: number n of entries of x, or the shape of x, (n,) or (n, *positions).
        out_features: number m of entries of z.
        positions: event dimensions after the first, such as (height, width); the map is the same
            at all of them.
        density: density p of what is dropped given z, or q of what is added given x, or what makes
            one; a `ConditionalNormal` by default, a `ConvNormal` for images.

    Raises:
        ShapeError: a number is not positive, positions are named twice, or the density has other
            shapes.
    """

    signs: Tensor

    def __init__(
        self,
        in_features: Sequence[int] | int,
        out_features: int,
        *,
        positions: Sequence[int] = (),
        density: Density | DensityFactory | None = None,
    ) -> None:
        n, *others = as_shape(in_features, "in_features")
        if others and positions and others != list(positions):
            raise ShapeError(
                f"in_features is {in_features} and positions is {tuple(positions)}; name the "
                "positions once."
            )
        positions = others or positions
        m = out_features
        kind: Kind = "bijection"
        if n != m:
            kind = "inference surjection" if m < n else "generative surjection"
        super().__init__((n, *positions), (m, *positions), kind=kind)
        rank = min(n, m)
        self.vectors = nn.Parameter(torch.randn(rank, max(n, m)))
        self.lower = nn.Parameter(torch.zeros(rank, rank))
        self.log_diagonal = nn.Parameter(torch.zeros(rank))
        self.bias = nn.Parameter(torch.zeros(m))
        self.register_buffer("signs", torch.ones(rank))
        self.rank = rank
        self.others: DensityGiven | None = None
        if n != m:
            density = density or (ConvNormal if len(positions) == 2 else ConditionalNormal)
            self.others = DensityGiven(density, (abs(n - m), *positions), (rank, *positions))

    @property
    def weight(self) -> Tensor:
        """W, (m, n)."""
        n, m = self.event_shape[0], self.latent_shape[0]
        eye = torch.eye(max(n, m), dtype=self.bias.dtype, device=self.bias.device)
        columns = self._rotate(eye, adjoint=True)[:, : self.rank]  # rows are Qᵀ·e_i
        tall = columns * self.signs @ self._factor().T
        return tall.T if m <= n else tall

    @torch.no_grad()
    def set_weight(self, weight: Tensor, bias: Tensor | None = None) -> None:
        """Start from a given layer; singular weights become nearly so.

        Args:
            weight: (m, n).
            bias: (m,), zero by default.
        """
        n, m = self.event_shape[0], self.latent_shape[0]
        tall = (weight.T if m <= n else weight).double()
        packed, taus = torch.geqrf(tall)
        factor = packed[: self.rank].triu()
        factor[taus == 0] *= -1  # there LAPACK leaves out a reflection, which we cannot
        diagonal = factor.diagonal()
        self.signs.copy_(torch.where(diagonal < 0, -1.0, 1.0))
        eye = torch.eye(max(n, m), self.rank, dtype=tall.dtype, device=tall.device)
        self.vectors.copy_((packed.tril(-1) + eye).T)
        self.lower.copy_(factor.T.tril(-1) * self.signs)
        size_of = diagonal.abs()
        self.log_diagonal.copy_(
            size_of.clamp(min=SMALLEST * max(size_of.max().item(), SMALLEST)).log()
        )
        self.bias.copy_(torch.zeros_like(self.bias) if bias is None else bias)

    @full_precision
    def encode(self, x: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        factor = self._factor()
        bias, signs = as_channels(self.bias, x), as_channels(self.signs, x)
        if self.kind == "generative surjection":
            assert self.others is not None
            with Reproducible(x, not self.training):
                added, log_q = self.others.draw(x, None)
            y = torch.cat([signs * along_channels(factor.T, x), added], 1)
            return self._rotate(y) + bias, self._volume(x) - log_q
        kept, dropped = self._rotate(x, adjoint=True).tensor_split([self.rank], 1)
        z = along_channels(factor, signs * kept) + bias
        if self.others is None:
            return z, self._volume(x)
        return z, self._volume(x) + self.others.score(dropped, z, None)

    @full_precision
    def decode(self, z: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        factor = self._factor()
        shifted, signs = z - as_channels(self.bias, z), as_channels(self.signs, z)
        if self.kind == "generative surjection":
            assert self.others is not None
            y, added = self._rotate(shifted, adjoint=True).tensor_split([self.rank], 1)
            x = _solve(factor.T, signs * y, upper=True)
            return x, self._volume(z) - self.others.score(added, x, None)
        kept = signs * _solve(factor, shifted, upper=False)
        if self.others is None:
            return self._rotate(kept), self._volume(z)
        dropped, log_p = self.others.draw(z, None)
        return self._rotate(torch.cat([kept, dropped], 1)), self._volume(z) + log_p

    def _rotate(self, x: Tensor, *, adjoint: bool = False) -> Tensor:
        """Q·x, or Qᵀ·x."""
        return reflect(x, self.vectors, adjoint=adjoint)

    def _factor(self) -> Tensor:
        """L, (r, r)."""
        return self.lower.tril(-1) + torch.diag(self.log_diagonal.exp())

    def _volume(self, x: Tensor) -> Tensor:
        positions = size(self.event_shape[1:])
        return (positions * self.log_diagonal.sum()).expand(len(x))


class FlowConv2d(Chain):
    """An overlapping or strided convolution, as nn.Conv2d: pad, cut into windows, multiply.

    Padding is noise (`NoisePad`), copies of a pixel in overlapping windows differ by noise
    (`Tiles`), and the weight is a `FlowLinear` at every position. Without noise it is the
    convolution with this weight. `exact` where nothing is added.

    Args:
        event_shape: (channels, height, width).
        out_channels: channels of the latent.
        kernel: height and width of a window, or one number for both.
        stride: rows and columns from one window to the next, or one number for both.
        padding: rows and columns on each side, or one number for both; what no window reaches is
            left away.
        noise: standard deviation of all noise at the start; it is learned for each channel.
        density: density of what the weight drops or adds, or a factory, as in `FlowLinear`.

    Raises:
        ShapeError: the event is no image, or the windows do not reach every pixel.
        ConfigError: a negative padding, or a noise that is not positive.
    """

    def __init__(
        self,
        event_shape: Sequence[int] | int,
        out_channels: int,
        kernel: Sequence[int] | int = 3,
        *,
        stride: Sequence[int] | int = 1,
        padding: Sequence[int] | int = 0,
        noise: float = 1.0,
        density: Density | DensityFactory | None = None,
    ) -> None:
        shape = as_shape(event_shape)
        kernels, strides, paddings = _pair(kernel), _pair(stride), _pair(padding)
        if len(shape) != 3:
            raise ShapeError(f"event_shape is {shape}; expected is (channels, height, width).")
        sides = []
        for length, k, s, p in zip(shape[:0:-1], kernels[::-1], strides[::-1], paddings[::-1],
                                   strict=True):  # fmt: skip
            reached = (length + 2 * p - k) // s * s + k if length + 2 * p >= k else 0
            sides += [p, max(reached - length - p, 0)]
        parts: list[Transform] = [NoisePad(shape, sides, noise=noise)] if any(sides) else []
        padded = parts[0].latent_shape if parts else shape
        tiles = Tiles(padded, kernels, strides, noise=noise)
        channels, *positions = tiles.latent_shape
        linear = FlowLinear(channels, out_channels, positions=positions, density=density)
        super().__init__([*parts, tiles, linear])

    @torch.no_grad()
    def set_weight(self, weight: Tensor, bias: Tensor | None = None) -> None:
        """Start from a given layer; singular weights become nearly so.

        Args:
            weight: (out_channels, channels, rows, columns).
            bias: (out_channels,), zero by default.
        """
        linear = self.transforms[-1]
        assert isinstance(linear, FlowLinear)
        linear.set_weight(weight.flatten(1), bias)


class SplineActivation(Transform):
    """One learned monotone rational-quadratic spline for all entries; the identity at the start.

    Args:
        event_shape: shape of one data point.
        bins: number of bins of the spline.
        bound: the spline lives on [-bound, bound] and is the identity outside.
    """

    def __init__(
        self, event_shape: Sequence[int] | int, *, bins: int = 10, bound: float = 2.0
    ) -> None:
        super().__init__(event_shape)
        self.univariate = RationalQuadratic(bins, bound)
        self.knots = nn.Parameter(torch.zeros(self.univariate.size))

    def encode(self, x: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        z, log_slope = self.univariate.encode(x, as_channels(self.knots, x[:, None]))
        return z, sum_event(log_slope)

    def decode(self, z: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        x, log_slope = self.univariate.decode(z, as_channels(self.knots, z[:, None]))
        return x, sum_event(log_slope)


def _solve(factor: Tensor, y: Tensor, *, upper: bool) -> Tensor:
    """Solve with a triangular matrix along the first event dimension."""
    if y.ndim == 2:
        x = solve_triangular(factor.mT, y, upper=not upper, left=False)
    else:
        x = solve_triangular(factor, y.flatten(2), upper=upper)
        x = x.unflatten(2, y.shape[2:])
    return x


def _pair(value: Sequence[int] | int) -> tuple[int, int]:
    rows, columns = (value, value) if isinstance(value, int) else value
    return rows, columns
