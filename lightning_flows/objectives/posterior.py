"""Normal posteriors of latents: with the covariance that an encoder implies, or a diagonal one."""

import math
from functools import partial
from typing import Literal, NamedTuple, get_args

import torch
from torch import Tensor, nn

from lightning_flows.core.errors import ConfigError
from lightning_flows.core.noise import normal_noise
from lightning_flows.core.recipe import Recorded
from lightning_flows.jacobians.log_volume import half_log_det
from lightning_flows.jacobians.products import Map, each, linearized, pullback, tangents
from lightning_flows.nets.mlp import MLP, Net, check_net
from lightning_flows.objectives.stochastic import probes_like

__all__ = ["DiagonalPosterior", "Drawn", "ImpliedPosterior", "Posterior"]

UNIT = 0.5 * math.log(2 * math.pi * math.e)  # entropy of a standard normal number, nats

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


class Posterior(Recorded, nn.Module):
    """q(z | x), normal around the encoder's f(x)."""

    def build(self, features: int, latents: int) -> None:
        """Make the networks that it has, if any.

        Args:
            features: number D of entries of a data point.
            latents: number d.
        """

    def forward(self, encode: Map, decode: Map, x: Tensor, sigma: Tensor) -> Drawn:
        """A draw with its exact entropy.

        Args:
            encode: map from (batch, *event) to (batch, d).
            decode: map from (batch, d) to (batch, *event).
            x: data, (batch, *event).
            sigma: standard deviation σ of the residuals, (1,).
        """
        raise NotImplementedError

    def steer(self, encode: Map, decode: Map, x: Tensor, sigma: Tensor) -> Drawn:
        """What training takes: the entropy has the right gradient, and need not be one in value.

        Arguments and shapes are those of a call.
        """
        drawn: Drawn = self(encode, decode, x, sigma)
        return drawn


class ImpliedPosterior(Posterior):
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
        super().__init__()
        self.gradient = gradient

    def forward(self, encode: Map, decode: Map, x: Tensor, sigma: Tensor) -> Drawn:
        u, pull = pullback(encode, x)
        basis = torch.eye(u.shape[1], dtype=u.dtype, device=u.device)
        rows = each(pull, basis[:, None].expand(-1, len(x), -1))
        j = rows.flatten(2).permute(1, 2, 0)
        noise = normal_noise((len(x), j.shape[1]), j)
        z = u + sigma * torch.einsum("bnd,bn->bd", j, noise)
        entropy = half_log_det(j) + u.shape[1] * (sigma.log() + UNIT)
        return Drawn(z, decode(z), entropy)

    def steer(self, encode: Map, decode: Map, x: Tensor, sigma: Tensor) -> Drawn:
        """A draw whose entropy has the gradient that was chosen.

        The surrogate's value is that of d log σ alone.
        """
        if self.gradient == "exact":
            return super().steer(encode, decode, x, sigma)
        u, push, pull = linearized(encode, x)
        z = u + sigma * push(torch.randn_like(x)[None])[0]
        v = probes_like(u, 1)
        x_hat, along = tangents(decode, z, v, graph=False)
        pulled = pull(v)[0]
        surrogate = (pulled * along[0].detach()).flatten(1).sum(1)
        entropy = surrogate - surrogate.detach() + u.shape[1] * sigma.log()
        return Drawn(z, x_hat, entropy)


class DiagonalPosterior(Posterior):
    """q(z | x) = N(f(x), σ² diag(e^{2h(x)})) with f the encoder and h a network of its own.

    That of a variational autoencoder (Kingma and Welling 2014). With a linear encoder and decoder
    and h constant the bound is tight at its optimum, probabilistic PCA with its axes in the
    columns of the decoder (Lucas et al. 2019). At the start h is 0.

    Args:
        net: makes h from the number of entries of a data point and that of latents; by default an
            MLP that starts at zero.

    Raises:
        ShapeError: what `net` makes does not lead from data to latents.
    """

    def __init__(self, net: Net | None = None) -> None:
        super().__init__()
        self.make = net or partial(MLP, hidden=(64, 64), activation="silu", zero_last=True)
        self.net: nn.Module | None = None

    def build(self, features: int, latents: int) -> None:
        self.net = self.make(features, latents)
        check_net(self.net, (features,), (latents,))

    def forward(self, encode: Map, decode: Map, x: Tensor, sigma: Tensor) -> Drawn:
        assert self.net is not None
        u, h = encode(x), self.net(x.flatten(1))
        z = u + sigma * h.exp() * normal_noise(u.shape, u)
        entropy = h.sum(1) + u.shape[1] * (sigma.log() + UNIT)
        return Drawn(z, decode(z), entropy)
