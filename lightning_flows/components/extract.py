"""Principal components of a density at single points, read from the Jacobian of its flow.

Two Jacobians are meant in the literature. Here J is that of the *decoder*, ∂y/∂z at z = encode(y),
of shape (D, d): J = U S Vᵀ. The columns of U are principal axes, the S are standard deviations
along them, V is an uninformative rotation of the latents. The *encoder's* Jacobian ∂z/∂y of a
bijection is J⁻¹ = V S⁻¹ Uᵀ: there a large singular value means a thin direction. For a linear flow
fitted to data with covariance Σ, J Jᵀ = Σ: this is PCA.

Where data x are preprocessed, y = to_model(x), the flow, the noise and the Tikhonov term of its
training see y alone, the *model space*. So that is where J lives and where everything is measured;
the Jacobian B of from_model carries what is shown to the units of the data.

For other flows the components are a first-order statement about the flow, not about the data
alone: maps that preserve the base density change J without changing the likelihood. A Tikhonov
term singles out the least twisted of them.
"""

from typing import TypedDict

import torch
from torch import Tensor

from lightning_flows.components.decompose import Triples, from_decoder, from_encoder
from lightning_flows.components.dimension import count_dimension, shrinkage
from lightning_flows.components.lanczos import widest
from lightning_flows.components.options import Method, Through, check_options
from lightning_flows.components.results import Components
from lightning_flows.core.errors import ConfigError
from lightning_flows.core.noise import Reproducible, Resampled, normal_noise
from lightning_flows.jacobians.products import Map, jacobian, linearized, tangents

__all__ = [
    "ModelMaps",
    "components",
]

ROWS = 8192  # points times directions in one pass, where no chunk_size is given
LARGE = 32  # latents for each component from which on the widest are found without the Jacobian
OVERSAMPLING = 2  # directions in a block beyond the k


class ModelMaps(TypedDict):
    """A flow and its preprocessing as `components` and `traverse` take them: `**maps`.

    Args:
        encode: model space to latents.
        decode: latents to model space.
        to_model: preprocesses data; None where there is nothing to do.
        from_model: undoes it.
    """

    encode: Map
    decode: Map
    to_model: Map | None
    from_model: Map | None


@torch.no_grad()
def components(
    encode: Map,
    decode: Map,
    x: Tensor,
    *,
    to_model: Map | None = None,
    from_model: Map | None = None,
    k: int | None = None,
    method: Method | None = None,
    tikhonov: float = 0.0,
    noise: float = 0.0,
    threshold: float = 5.0,
    relative: float = 1e-3,
    through: Through = "decode",
    chunk_size: int | None = None,
    tolerance: float = 0.01,
    max_iterations: int = 50,
    seed: int = 0,
) -> Components:
    """Extract the principal components of a flow at given points.

    The full method builds the Jacobian and decomposes its Gram matrix in float64: about 2.5 times
    faster than an SVD for 784 dimensions. Squaring limits it to scales above about 1e-7 of the
    largest, which is also what the Jacobian itself is worth in float32. The iterative method finds
    the k widest from products with J and Jᵀ alone (`lanczos.widest`), says for every point how
    wrong they may be, and goes on until each point holds the tolerance.

    A family hands over its four maps by `components(x=x, **module.model_maps())`. With its own
    `encode` and `decode`, which include the preprocessing, model space is data space, and `noise`,
    `tikhonov` and `relative` are in the units of the data.

    Args:
        encode: model space to latents, (batch, *event) to (batch, *latent), row by row.
        decode: latents to model space, (batch, *latent) to (batch, *event), row by row.
        x: points, (batch, *event).
        to_model: preprocesses data, row by row; None where the flow takes them as they are.
        from_model: undoes it.
        k: number of components to return; None returns all.
        method: "full" or "iterative"; None iterates where k is given, the decoder is
            differentiated, and there are at least 32 latents for each component.
        tikhonov: weight α of the penalty α‖∂z/∂y‖² that the flow was trained with. It widens
            every variance by 2α, which is subtracted.
        noise: the same said by the standard deviation σ of noise on the preprocessed training
            data, 2α = σ².
        threshold: with `tikhonov` or `noise`, a direction counts for the dimension if its
            variance, less 2α, exceeds this multiple of 2α.
        relative: without, a direction counts if its variance exceeds this fraction of the largest
            at that point.
        through: differentiate the decoder at the latents, or the encoder at the point. The latter
            is the cheap direction of an autoregressive flow; its widest components come from the
            smallest singular values and so lose digits with the condition number. Of an encoder
            that reduces dimensions, a surjection, it takes the pseudo-inverse: axes at right
            angles to what is lost. Where `decode` draws, its noise is held fixed.
        chunk_size: number of directions at a time; None chooses by the size of the batch.
        tolerance: of the iterative method: largest relative error of a scale, and largest angle
            in radians.
        max_iterations: of the iterative method: when to give up on a point.
        seed: of the iterative method: the random directions to start from at each point are a hash
            of the point and this number. They are the same in any batch and on any rank, and what
            they leave uncertain averages out over points.

    Returns:
        The components, of the dtype of the latents.

    Raises:
        ConfigError: an option is out of range, or does not go with another.
        ShapeError: the route through the encoder is asked for one that adds dimensions.
    """
    check_options(
        k,
        tikhonov,
        threshold,
        relative,
        through,
        method=method,
        noise=noise,
        tolerance=tolerance,
        max_iterations=max_iterations,
    )

    def decode_same(z: Tensor) -> Tensor:
        with Reproducible(x):
            return decode(z)

    y = x if to_model is None else to_model(x)
    z = encode(y)
    flat = z.flatten(1).double()
    size = flat.shape[1]
    if k is not None and k > size:
        raise ConfigError(f"k is {k}; the latents have {size} dimensions, and no more components.")
    chunk_size = chunk_size or max(1, ROWS // max(1, len(x)))
    if method is None:
        large = k is not None and through == "decode" and size >= LARGE * k
        method = "iterative" if large else "full"
    if method == "iterative":
        count = size if k is None else k
        start = _start(x, z, min(count + OVERSAMPLING, size), seed)
        found = _iterate(decode_same, z, start, count, chunk_size, tolerance, max_iterations)
    else:
        found = _decompose(encode, decode_same, y, z, through, chunk_size)
    finite = torch.cat([flat, *(part.flatten(1) for part in found[:3])], 1).isfinite().all(1)
    largest = found.axes.gather(2, found.axes.abs().argmax(2, keepdim=True))
    sign = torch.where(largest < 0, -1.0, 1.0)
    along = found.scales * (found.directions.double() @ flat[..., None])[..., 0]
    floor = shrinkage(tikhonov, noise)
    variances = found.scales.double().square() - floor
    rest = (found.rest - (size - found.scales.shape[1]) * floor).clamp_min(0)

    def mark(values: Tensor) -> Tensor:
        return torch.where(finite.view(-1, *[1] * (values.ndim - 1)), values, torch.nan).to(z.dtype)

    axes = mark((found.axes * sign)[:, :k]).unflatten(2, y.shape[1:])
    steps = axes * mark(found.scales[:, :k]).view(*axes.shape[:2], *[1] * (y.ndim - 1))
    if from_model is not None:
        steps = _carried(from_model, decode_same(z), steps, chunk_size)
    return Components(
        points=x,
        preprocessed=y,
        latents=z,
        axes=axes,
        scales=mark(found.scales[:, :k]),
        variances=mark(variances[:, :k]),
        coordinates=mark((along * sign[..., 0])[:, :k]),
        dimension=mark(count_dimension(variances, floor, threshold, relative)),
        directions=mark((found.directions * sign)[:, :k]).unflatten(2, z.shape[1:]),
        displacements=steps,
        total=mark(variances.clamp_min(0).sum(1) + rest),
        total_error=mark(found.rest_error),
        error=mark(found.error[:, :k]),
        angle=mark(found.angle),
        converged=finite & (found.error <= tolerance).all(1) & (found.angle <= tolerance),
        iterations=mark(found.iterations),
    )


def _decompose(
    encode: Map, decode: Map, y: Tensor, z: Tensor, through: str, chunk_size: int
) -> Triples:
    """All triples from the whole Jacobian; NaN where it is not finite."""
    fn, point, of = (decode, z, from_decoder) if through == "decode" else (encode, y, from_encoder)
    matrix = jacobian(fn, point, chunk_size=chunk_size).double()
    finite = matrix.flatten(1).isfinite().all(1)
    # LAPACK refuses a batch with one bad matrix, so the bad ones are replaced and marked after
    found = of(torch.where(finite[:, None, None], matrix, 1.0))
    return found._replace(scales=torch.where(finite[:, None], found.scales, torch.nan))


def _start(x: Tensor, z: Tensor, width: int, seed: int) -> Tensor:
    """Random directions in latent space, (batch, width, d), a hash of each point and the seed."""
    with Reproducible(x), Resampled(seed):
        return normal_noise((len(z), width, z.shape[1:].numel()), z)


def _iterate(
    decode: Map,
    z: Tensor,
    start: Tensor,
    k: int,
    chunk_size: int,
    tolerance: float,
    max_iterations: int,
) -> Triples:
    """The k widest triples from products with the Jacobian."""
    value, forward, backward = linearized(decode, z)

    def product(fn: Map, vectors: Tensor, shape: torch.Size) -> Tensor:
        parts = vectors.transpose(0, 1).unflatten(2, shape).split(chunk_size)
        return torch.cat([fn(part) for part in parts]).flatten(2).transpose(0, 1)

    return widest(
        lambda vectors: product(forward, vectors, z.shape[1:]),
        lambda images: product(backward, images, value.shape[1:]),
        start,
        k,
        tolerance=tolerance,
        max_iterations=max_iterations,
    )


def _carried(fn: Map, y: Tensor, vectors: Tensor, chunk_size: int) -> Tensor:
    """Vectors at y, (batch, k, *event), multiplied with the Jacobian of a map there."""
    parts = vectors.transpose(0, 1).to(y).split(chunk_size)
    return torch.cat([tangents(fn, y, part, graph=False)[1] for part in parts]).transpose(0, 1)
