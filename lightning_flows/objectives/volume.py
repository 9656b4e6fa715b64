"""The volume element of an injective map, ½ log det JᵀJ, and ways to descend on it.

Here J is the Jacobian of the decoder, latent → data, (D, d) for each sample. A strategy encodes,
decodes and gives the log-volume with a gradient that is right, or an unbiased estimate. Where
computing it yields the true log-volume, that is its value, so that training curves show what they
name; `measures` says whether.

The volume of a sample fails where J is not finite or not of full rank; a principal volume where a
column is zero, a free-form one never for the rank. It is then NaN and has no gradient, and the
other samples of the batch have the same values and gradients as without it.
"""

import torch
from torch import Tensor

from lightning_flows.core.errors import check_least
from lightning_flows.core.recipe import Recorded
from lightning_flows.jacobians.log_volume import half_log_det, log_lengths
from lightning_flows.jacobians.products import Map, value_and_jacobian
from lightning_flows.objectives.failures import Embedded, measured

__all__ = ["ExactVolume", "NoVolume", "PrincipalVolume", "Volume"]


class Volume(Recorded):
    """Strategy that gives reconstructions and the log-volume with a gradient."""

    measures = True
    """Whether the value of `log_volume` is the true one, not only its gradient."""

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
        chunk_size: how many tangents go through the decoder at once; all by default. With chunks
            the decoder is run again for each of them, in the backward pass too, so that no more
            than one chunk's activations are held at a time.

    Raises:
        ConfigError: `chunk_size` is not positive.
    """

    def __init__(self, chunk_size: int | None = None) -> None:
        check_least(1, chunk_size=chunk_size)
        self.chunk_size = chunk_size

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
        columns: how many columns are drawn for each batch; all by default.

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
