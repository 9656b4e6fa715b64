"""What holds for any transform, also where a dimension is dropped or added, in few dimensions.

For x drawn from a proposal r, the mean of exp(V(x, z) + log p_base(z)) / r(x) over x and over the
noise of encoding is the integral of the density: 1, bound or not.
"""

import math

import torch
from torch import Tensor

from lightning_flows.bases.conditional import ConditionalNormal
from lightning_flows.bases.normal import Normal
from lightning_flows.shapes import size
from lightning_flows.transforms.base import Transform
from proofs.common import make, near

ROWS = 100_000


@torch.no_grad()
def is_a_density(build) -> None:
    """The density integrates to 1, and samples follow it: means of bounded functions of x."""
    t = make(build)
    _widen_what_is_added(t)
    torch.manual_seed(11)
    base = Normal(t.latent_shape, scale=1.0 if t.exact else 0.75).double()
    samples = t.decode(base.draw(ROWS))[0].flatten(1)
    covariance = samples.T.cov().reshape(samples.shape[1], samples.shape[1])
    x, log_proposal = _heavy_tails(samples.mean(0), torch.linalg.cholesky(covariance))
    z, contribution = t.encode(x.reshape(-1, *t.event_shape))
    weights = (base.log_prob(z) + contribution - log_proposal).exp()
    error = weights.std().item() / math.sqrt(ROWS)
    assert error < 0.01, f"the estimate is too noisy: {error}"
    assert abs(weights.mean().item() - 1) < min(0.02, 4 * error + 1e-3), (weights.mean(), error)

    drawn, scored = _bounded(samples), weights[:, None] * _bounded(x)
    errors = ((drawn.var(0) + scored.var(0)) / ROWS).sqrt()
    assert errors.max() < 0.01
    assert ((drawn.mean(0) - scored.mean(0)).abs() < 5 * errors + 1e-3).all()


def _widen_what_is_added(t: Transform) -> None:
    """Encoding must draw more widely than the model allows, or the weights have no variance."""
    for module in t.modules():
        density = getattr(module, "density", None)
        if isinstance(density, ConditionalNormal) and module.kind == "generative surjection":
            bias = list(density.parameters())[-1]
            bias.data[len(bias) // 2 :] += 0.9  # log-scales


def _heavy_tails(loc: Tensor, factor: Tensor, freedom: int = 3) -> tuple[Tensor, Tensor]:
    """Points of a Student distribution, and their log-density."""
    d = len(loc)
    noise = torch.randn(ROWS, d, dtype=loc.dtype)
    mixing = torch.randn(ROWS, freedom, dtype=loc.dtype).square().sum(1, keepdim=True) / freedom
    noise = noise / mixing.sqrt()
    constant = math.lgamma((freedom + d) / 2) - math.lgamma(freedom / 2)
    constant -= d / 2 * math.log(freedom * math.pi) + factor.diagonal().log().sum().item()
    log_density = constant - (freedom + d) / 2 * torch.log1p(noise.square().sum(1) / freedom)
    return loc + noise @ factor.T, log_density


def _bounded(x: Tensor) -> Tensor:
    return torch.cat([torch.tanh(x), torch.tanh(x[:, :1] * x), x.cos()], 1)


def both_directions_agree(build) -> None:
    """The pair that one direction makes has the contribution that the other finds there."""
    t = make(build)
    if t.kind == "inference surjection":
        z = torch.randn(32, *t.latent_shape, dtype=torch.float64)
        x, decoded = t.decode(z)
        again, encoded = t.encode(x)
        near(again, z)
    else:
        x = torch.randn(32, *t.event_shape, dtype=torch.float64)
        z, encoded = t.encode(x)
        again, decoded = t.decode(z)
        near(again, x)
    near(decoded, encoded)
    assert encoded.shape == (32,)


def small(t: Transform) -> bool:
    """Few enough dimensions for importance weights."""
    return size(t.event_shape) <= 4 and size(t.latent_shape) <= 6 and t.context_shape is None
