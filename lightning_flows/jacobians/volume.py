"""The volume element of an injective map, ½ log det JᵀJ, and ways to descend on it.

Here J is the Jacobian of the decoder, latent → data, (D, d) for each sample. A strategy encodes,
decodes and gives the log-volume with a gradient that is right, or an unbiased estimate. Where
computing it yields the true log-volume, that is its value, so that training curves show what they
name; `measures` says whether.

The volume of a sample fails where J is not finite or not of full rank; a principal volume where a
column is zero, a free-form one never for the rank. It is then NaN and has no gradient, and the
other samples of the batch have the same values and gradients as without it.
"""

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor

from lightning_flows.errors import check_least
from lightning_flows.jacobians.conjugate_gradients import Solution
from lightning_flows.jacobians.products import jacobian, value_and_jacobian
from lightning_flows.recipe import Recorded
from lightning_flows.transforms.linear import widened

__all__ = ["Embedded", "ExactVolume", "Map", "NoVolume", "PrincipalVolume", "Volume", "log_volume"]

Map = Callable[[Tensor], Tensor]


class Embedded(NamedTuple):
    """A batch on its way through encoder and decoder.

    Args:
        u: latents of the data, (batch, d).
        x_hat: what they decode to, (batch, *event); without a gradient where J is not finite.
        log_volume: ½ log det JᵀJ at u, (batch,), nats; or zero with the gradient of it; NaN where
            it fails.
        jacobian: J with its graph, (batch, D, d), where the strategy has built it; that of another
            sample, without a gradient, where the volume fails.
    """

    u: Tensor
    x_hat: Tensor
    log_volume: Tensor
    jacobian: Tensor | None = None


class Volume(Recorded):
    """Strategy that gives reconstructions and the log-volume with a gradient."""

    measures = True
    """Whether the value of `log_volume` is the true one, not only its gradient."""

    last_solution: Solution | None = None
    """What conjugate gradients did for the last batch, where it was solved with them."""

    def __call__(self, encode: Map, decode: Map, x: Tensor) -> Embedded:
        """Encode, decode and measure.

        Args:
            encode: map from (batch, *event) to (batch, d).
            decode: map from (batch, d) to (batch, *event).
            x: data, (batch, *event).
        """
        raise NotImplementedError

    def objective(self, j: Tensor) -> Tensor:
        """What the strategy descends on, measured: (batch, D, d) -> (batch,), NaN where it fails.

        Unless overridden, the true ½ log det JᵀJ in nats.
        """
        return half_log_det(j)


class ExactVolume(Volume):
    """All d tangents, the gradient of ½ log det JᵀJ itself (RNFs-ML exact, Caterini et al. 2021).

    Args:
        chunk_size: how many tangents go through the decoder at once; all unless given. With chunks
            the decoder is run again for each of them, in the backward pass too, so that no more
            than one chunk's activations are held at a time.

    Raises:
        ConfigError: `chunk_size` is not positive.
    """

    def __init__(self, chunk_size: int | None = None) -> None:
        self.chunk_size = check_chunk_size(chunk_size)

    def __call__(self, encode: Map, decode: Map, x: Tensor) -> Embedded:
        def differentiate(points: Tensor) -> tuple[Tensor, Tensor]:
            return value_and_jacobian(decode, points, chunk_size=self.chunk_size)

        return measured(half_log_det, differentiate, decode, encode(x))


class PrincipalVolume(Volume):
    """Σ log‖J_k‖ over the columns of J in place of the log-volume.

    An upper bound (Hadamard), tight where columns are orthogonal. It is the objective of injective
    principal component flows at α = 1 (Cunningham et al. 2022): their penalty cancels the
    log-determinant, and what remains pulls the columns apart. A random subset of columns gives an
    unbiased estimate of the sum.

    Args:
        columns: how many columns are drawn for each batch; all unless given.

    Raises:
        ConfigError: `columns` is not positive.
    """

    measures = False

    def __init__(self, columns: int | None = None) -> None:
        check_least(1, columns=columns)
        self.columns = columns

    def __call__(self, encode: Map, decode: Map, x: Tensor) -> Embedded:
        u = encode(x)
        d = u.shape[1]
        count = d if self.columns is None else min(self.columns, d)
        chosen = torch.randperm(d, device=u.device)[:count] if count < d else None

        def differentiate(points: Tensor) -> tuple[Tensor, Tensor]:
            return value_and_jacobian(decode, points, columns=chosen)

        found = measured(log_lengths, differentiate, decode, u)
        return found._replace(
            log_volume=found.log_volume * (d / count),
            jacobian=found.jacobian if count == d else None,
        )

    def objective(self, j: Tensor) -> Tensor:
        return log_lengths(j)


class NoVolume(Volume):
    """Leaves the volume out: reconstruction and prior only, an autoencoder with a density."""

    measures = False

    def __call__(self, encode: Map, decode: Map, x: Tensor) -> Embedded:
        u = encode(x)
        return Embedded(u, decode(u), torch.zeros_like(u[:, 0]))

    def objective(self, j: Tensor) -> Tensor:
        return j.new_zeros(len(j))


def log_volume(decode: Map, z: Tensor, *, chunk_size: int | None = None) -> Tensor:
    """True ½ log det JᵀJ of the decoder at z by QR: (batch, d) -> (batch,), nats.

    NaN where J is not finite or not of full rank. Differentiable in reverse and forward mode,
    where no sample fails; call it under `no_grad` to only measure.
    """
    j = jacobian(decode, z, chunk_size=chunk_size)
    return log_diagonal(triangle(j), j.shape[1])


def half_log_det(j: Tensor) -> Tensor:
    """½ log det JᵀJ with a gradient that needs no derivative of QR: (batch, D, d) -> (batch,).

    NaN, without a gradient, where J is not finite or not of full rank.
    """
    volume: Tensor = _HalfLogDet.apply(widened(j))
    return volume


class _HalfLogDet(torch.autograd.Function):
    """½ log det JᵀJ = Σ log|R_ii| with J = QR; its gradient is J (JᵀJ)⁻¹ = Q R⁻ᵀ."""

    @staticmethod
    def forward(ctx, j: Tensor) -> Tensor:  # type: ignore[no-untyped-def]
        q, r = torch.linalg.qr(j)
        ctx.save_for_backward(q, r)
        return log_diagonal(r, q.shape[1])

    @staticmethod
    def backward(ctx, grad: Tensor) -> Tensor:  # type: ignore[no-untyped-def]
        q, r = ctx.saved_tensors
        sound = full_rank(r, q.shape[1])[:, None, None]
        pseudo_inverse: Tensor = torch.linalg.solve_triangular(r, q.mT, upper=True)
        return torch.where(sound, pseudo_inverse.mT * grad[:, None, None], 0.0)


def triangle(j: Tensor) -> Tensor:
    """R of J = QR, in single precision at least: (batch, D, d) -> (batch, d, d)."""
    r: Tensor = torch.linalg.qr(widened(j)).R
    return r


def log_diagonal(r: Tensor, rows: int) -> Tensor:
    """Σ log|R_ii| of triangular factors, NaN without full rank: (batch, d, d) -> (batch,).

    Args:
        r: the factors R of matrices J = QR.
        rows: number D of rows of J.
    """
    volume = r.diagonal(dim1=1, dim2=2).abs().log().sum(1)
    return torch.where(full_rank(r, rows), volume, torch.nan)


def full_rank(r: Tensor, rows: int) -> Tensor:
    """Whether triangular factors are finite and no column is lost in rounding: (batch,).

    |R_ii| is the part of column i that the columns before it do not span. Of a column that they do
    span, rounding leaves a part of its length: up to 5 eps for 5 rows, 7 for 784, 70 for 200 000,
    in single and in double precision. That part must exceed 10 √D eps. (numpy asks for D eps of the
    largest singular value, which in single precision refuses condition numbers of 1000 from
    D = 8000 on.)

    Args:
        r: the factors R of matrices J = QR, (batch, d, d).
        rows: number D of rows of J.
    """
    r = r.detach()
    least = 10 * rows**0.5 * torch.finfo(r.dtype).eps
    sound: Tensor = r.diagonal(dim1=1, dim2=2).abs() > least * r.norm(dim=1)
    return sound.all(1)


def log_lengths(j: Tensor) -> Tensor:
    """Σ log‖J_k‖ over columns: (batch, D, k) -> (batch,).

    NaN, without a gradient, where a column is zero or not finite.
    """
    squares = j.square().sum(1)
    sound = (squares > 0) & (squares < torch.inf)
    logs = 0.5 * torch.where(sound, squares, 1.0).log()
    return torch.where(sound.all(1), logs.sum(1), torch.nan)


def measured(
    measure: Callable[[Tensor], Tensor],
    differentiate: Callable[[Tensor], tuple[Tensor, Tensor]],
    decode: Map,
    u: Tensor,
) -> Embedded:
    """A batch with a measure of J, the samples where it fails treated alone.

    The host waits once for the device, to hear whether a sample failed. That cannot be had for
    less: what derivatives have broken no mask mends, and whose they are shows afterwards.

    Args:
        measure: gives a volume of each J, (batch, D, k) -> (batch,), NaN where it fails; with a
            gradient that is finite where J is.
        differentiate: gives values (batch, *event) and J, (batch, D, k), at points.
        decode: map from (batch, d) to (batch, *event).
        u: points, (batch, d).
    """
    x_hat, j = differentiate(u)
    volume = measure(j)
    sound = ~volume.detach().isnan()
    if some_fail(sound):
        finite = j.detach().isfinite().flatten(1).all(1)
        if some_fail(finite):
            x_hat, j = around_failures(differentiate, decode, u, finite)
            volume = torch.where(finite, measure(j), torch.nan)
        j = elsewhere(j, sound)
    return Embedded(u, x_hat, volume, j)


def some_fail(sound: Tensor) -> bool:
    """Whether there are samples to be treated alone; if all fail, there are not."""
    return bool(sound.any() & ~sound.all())


def around_failures(
    differentiate: Callable[[Tensor], tuple[Tensor, Tensor]], decode: Map, u: Tensor, finite: Tensor
) -> tuple[Tensor, Tensor]:
    """Values and derivatives of the decoder; another point's where derivatives are not finite.

    Nothing of such a sample may reach the graph: zero times infinity is NaN for all parameters.

    Args:
        differentiate: gives values (batch, *event) and derivatives at points.
        decode: map from (batch, d) to (batch, *event).
        u: points, (batch, d).
        finite: where derivatives are finite, (batch,).

    Returns:
        Values at u, without a gradient where derivatives are not finite, and derivatives.
    """
    values, derivatives = differentiate(elsewhere(u, finite))
    with torch.no_grad():
        broken = decode(u)
    return where_rows(finite, values, broken), derivatives


def elsewhere(values: Tensor, sound: Tensor) -> Tensor:
    """Put the first sound row, without its gradient, where a row is not sound."""
    return where_rows(sound, values, values.detach()[sound.int().argmax()])


def where_rows(sound: Tensor, values: Tensor, others: Tensor) -> Tensor:
    """Rows of the values where they are sound, (batch,), and of the others elsewhere."""
    return torch.where(sound.reshape(-1, *[1] * (values.ndim - 1)), values, others)


def check_chunk_size(chunk_size: int | None) -> int | None:
    """Refuse a chunk size below 1.

    Raises:
        ConfigError: says what came.
    """
    check_least(1, chunk_size=chunk_size)
    return chunk_size
