"""The posterior that an encoder implies: a Gaussian whose covariance is the encoder's Jacobian."""

import math
from typing import Literal, NamedTuple, get_args

import torch
from torch import Tensor

from lightning_flows.core.errors import ConfigError
from lightning_flows.core.noise import normal_noise
from lightning_flows.core.recipe import Recorded
from lightning_flows.jacobians.log_volume import half_log_det
from lightning_flows.jacobians.products import Map, each, linearized, pullback, tangents
from lightning_flows.objectives.stochastic import probes_like

__all__ = ["Drawn", "ImpliedPosterior"]

Gradient = Literal["exact", "surrogate"]


class Drawn(NamedTuple):
    """A draw of a posterior for each data point.

    Attributes:
        z: latents, (batch, d).
        x_hat: their images under the decoder, (batch, *event).
        entropy: of the posterior, (batch,), nats; NaN where it cannot be had.
    """

    z: Tensor
    x_hat: Tensor
    entropy: Tensor


class ImpliedPosterior(Recorded):
    """q(z | x) = N(f(x), σ² f'f'ᵀ) with f the encoder and f' its Jacobian at x.

    A draw is f(x) + σ f'ε, ε ~ N(0, I_D). Its entropy is ½ log det(2πe σ² f'f'ᵀ).

    Args:
        gradient: of the entropy: "exact" takes the whole Jacobian of the encoder, d
            vector-Jacobian products; "surrogate" one of them and one Jacobian-vector product of
            the decoder at the draw, in place of the encoder's pseudo-inverse (Sorrenson et al.
            2024). The surrogate's value is no entropy; it steers training only.

    Raises:
        ConfigError: an unknown option.
    """

    def __init__(self, gradient: Gradient = "exact") -> None:
        if gradient not in get_args(Gradient):
            raise ConfigError(f"gradient is {gradient!r}; accepted are {get_args(Gradient)}.")
        self.gradient = gradient

    def __call__(self, encode: Map, decode: Map, x: Tensor, sigma: Tensor) -> Drawn:
        """A draw with its exact entropy.

        Args:
            encode: map from (batch, *event) to (batch, d).
            decode: map from (batch, d) to (batch, *event).
            x: data, (batch, *event).
            sigma: standard deviation σ of the residuals, (1,).
        """
        u, pull = pullback(encode, x)
        basis = torch.eye(u.shape[1], dtype=u.dtype, device=u.device)
        rows = each(pull, basis[:, None].expand(-1, len(x), -1))
        j = rows.flatten(2).permute(1, 2, 0)
        noise = normal_noise((len(x), j.shape[1]), j)
        z = u + sigma * torch.einsum("bnd,bn->bd", j, noise)
        unit = 0.5 * math.log(2 * math.pi * math.e)
        entropy = half_log_det(j) + u.shape[1] * (sigma.log() + unit)
        return Drawn(z, decode(z), entropy)

    def steer(self, encode: Map, decode: Map, x: Tensor, sigma: Tensor) -> Drawn:
        """What training takes: a draw whose entropy has the gradient that was chosen.

        Arguments and shapes are those of a call. The surrogate's entropy is d log σ alone in value.
        """
        if self.gradient == "exact":
            return self(encode, decode, x, sigma)
        u, push, pull = linearized(encode, x)
        z = u + sigma * push(torch.randn_like(x)[None])[0]
        v = probes_like(u, 1)
        x_hat, along = tangents(decode, z, v, graph=False)
        pulled = pull(v)[0]
        surrogate = (pulled * along[0].detach()).flatten(1).sum(1)
        entropy = surrogate - surrogate.detach() + u.shape[1] * sigma.log()
        return Drawn(z, x_hat, entropy)
