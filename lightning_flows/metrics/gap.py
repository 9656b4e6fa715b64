"""Whether an encoder undoes its decoder, to first order."""

from collections.abc import Callable
from typing import Any, Literal

import torch
from torch import Tensor

from lightning_flows.core.errors import ConfigError, ShapeError
from lightning_flows.jacobians.products import tangents, value_and_jacobian
from lightning_flows.metrics.mean import PointMean

__all__ = ["EncoderDecoderGap", "encoder_decoder_gap"]

Map = Callable[[Tensor], Tensor]


def encoder_decoder_gap(
    encode: Map,
    decode: Map,
    x: Tensor,
    *,
    at: Literal["x", "reconstruction"] = "x",
    chunk_size: int | None = None,
) -> Tensor:
    """How far f′ g′ is from the identity: ‖f′ g′ - I‖_F / √d, with g′ the decoder's at f(x).

    It is 0 for a bijection, and for any pair with f(g(z)) = z where f′ is taken at the
    reconstruction. Surrogates of free-form flows are right where it is small.

    Args:
        encode: map f of batches, (batch, *event) to (batch, *latent); every row on its own.
        decode: map g of batches, (batch, *latent) to (batch, *event).
        x: points, (batch, *event).
        at: where f′ is taken, at x or at g(f(x)).
        chunk_size: latent directions to differentiate along at a time; None takes all at once.

    Returns:
        (batch,), without a unit.

    Raises:
        ShapeError: `decode` does not return to the shape of x.
        ConfigError: an option is out of range.
    """
    if at not in ("x", "reconstruction"):
        raise ConfigError(f"at is {at!r}; accepted are 'x' and 'reconstruction'.")
    z = encode(x)
    decoded, jacobian = value_and_jacobian(decode, z, chunk_size=chunk_size)
    if decoded.shape != x.shape:
        raise ShapeError(
            f"decode(encode(x)) has shape {tuple(decoded.shape)}; x has {tuple(x.shape)}."
        )
    point = (x if at == "x" else decoded).to(decoded.dtype)
    directions = jacobian.permute(2, 0, 1).reshape(jacobian.shape[2], *x.shape)
    columns = [
        tangents(encode, point, part)[1].flatten(2)
        for part in directions.split(chunk_size or len(directions))
    ]
    product = torch.cat(columns)  # (d, batch, d), its transpose as good as itself
    identity = torch.eye(len(product), dtype=product.dtype, device=product.device)
    squares = (product - identity[:, None]).square().sum((0, 2))
    return (squares / len(product)).sqrt()


class EncoderDecoderGap(PointMean):
    """Mean of `encoder_decoder_gap` over all points.

    Args:
        at: where the encoder is differentiated, at x or at its reconstruction.
        chunk_size: latent directions to differentiate along at a time; None takes all at once.
        kwargs: options of `torchmetrics.Metric`.
    """

    higher_is_better = False

    def __init__(
        self,
        *,
        at: Literal["x", "reconstruction"] = "x",
        chunk_size: int | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.at: Literal["x", "reconstruction"] = at
        self.chunk_size = chunk_size

    @torch.no_grad()
    def update(self, encode: Map, decode: Map, x: Tensor) -> None:
        """Take points, (batch, *event), and the pair of maps to look at there."""
        gap = encoder_decoder_gap(encode, decode, x, at=self.at, chunk_size=self.chunk_size)
        self.take(gap)
