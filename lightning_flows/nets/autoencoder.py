"""Encoder and decoder networks for free-form flows, fully connected.

Both start near the identity: a linear map with orthonormal rows, and its transpose in the decoder,
plus networks whose last layer is zero. So the round trip through the latents is exact at the start.
Every part is smooth, because surrogate gradients live on second derivatives.
"""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from lightning_flows.core.errors import check_least
from lightning_flows.core.shapes import Shape, size
from lightning_flows.nets.mlp import MLP

__all__ = ["MLPDecoder", "MLPEncoder", "ResidualDecoder", "ResidualEncoder"]

SEED = 0  # the two ends start as each other's transpose, on all ranks


class MLPEncoder(nn.Module):
    """z = A x + MLP(x): (batch, *event_shape) -> (batch, features).

    Args:
        event_shape: shape of one data point.
        features: number of latents d.
        hidden: width of each hidden layer.
        activation: silu, tanh, gelu, elu or softplus.
    """

    def __init__(
        self,
        event_shape: Shape,
        features: int,
        *,
        hidden: Sequence[int] = (256, 256),
        activation: str = "silu",
    ) -> None:
        super().__init__()
        n = size(event_shape)
        self.skip = orthonormal(n, features)
        self.net = MLP(n, features, hidden=hidden, activation=activation, zero_last=True)

    def forward(self, x: Tensor) -> Tensor:
        x = x.flatten(1)
        z: Tensor = self.skip(x) + self.net(x)
        return z


class MLPDecoder(nn.Module):
    """x = Aᵀ z + MLP(z): (batch, features) -> (batch, *event_shape).

    Args:
        event_shape: shape of one data point.
        features: number of latents d.
        hidden: width of each hidden layer.
        activation: silu, tanh, gelu, elu or softplus.
    """

    def __init__(
        self,
        event_shape: Shape,
        features: int,
        *,
        hidden: Sequence[int] = (256, 256),
        activation: str = "silu",
    ) -> None:
        super().__init__()
        n = size(event_shape)
        self.event_shape = event_shape
        self.skip = orthonormal(features, n)
        self.net = MLP(features, n, hidden=hidden, activation=activation, zero_last=True)

    def forward(self, z: Tensor) -> Tensor:
        x: Tensor = (self.skip(z) + self.net(z)).unflatten(1, self.event_shape)
        return x


class ResidualEncoder(nn.Module):
    """Blocks x + MLP(x) in data space, a linear map to d, blocks z + MLP(z) in latent space.

    (batch, *event_shape) -> (batch, features). The toy and tabular networks of Sorrenson et al.
    (2024) are of this kind.

    Args:
        event_shape: shape of one data point.
        features: number of latents d.
        blocks: number of blocks in data space.
        latent_blocks: number of blocks in latent space.
        hidden: width of each hidden layer of a block.
        activation: silu, tanh, gelu, elu or softplus.

    Raises:
        ConfigError: a negative number of blocks, or a width that is not positive.
    """

    def __init__(
        self,
        event_shape: Shape,
        features: int,
        *,
        blocks: int = 2,
        latent_blocks: int = 2,
        hidden: Sequence[int] = (256, 256),
        activation: str = "silu",
    ) -> None:
        super().__init__()
        check_least(0, blocks=blocks, latent_blocks=latent_blocks)
        n = size(event_shape)
        self.layers = nn.Sequential(
            nn.Flatten(),
            *(_Block(n, hidden, activation) for _ in range(blocks)),
            orthonormal(n, features),
            *(_Block(features, hidden, activation) for _ in range(latent_blocks)),
        )

    def forward(self, x: Tensor) -> Tensor:
        z: Tensor = self.layers(x)
        return z


class ResidualDecoder(nn.Module):
    """The mirror image of `ResidualEncoder`: (batch, features) -> (batch, *event_shape).

    Args:
        event_shape: shape of one data point.
        features: number of latents d.
        blocks: number of blocks in data space.
        latent_blocks: number of blocks in latent space.
        hidden: width of each hidden layer of a block.
        activation: silu, tanh, gelu, elu or softplus.

    Raises:
        ConfigError: a negative number of blocks, or a width that is not positive.
    """

    def __init__(
        self,
        event_shape: Shape,
        features: int,
        *,
        blocks: int = 2,
        latent_blocks: int = 2,
        hidden: Sequence[int] = (256, 256),
        activation: str = "silu",
    ) -> None:
        super().__init__()
        check_least(0, blocks=blocks, latent_blocks=latent_blocks)
        n = size(event_shape)
        self.layers = nn.Sequential(
            *(_Block(features, hidden, activation) for _ in range(latent_blocks)),
            orthonormal(features, n),
            *(_Block(n, hidden, activation) for _ in range(blocks)),
            nn.Unflatten(1, event_shape),
        )

    def forward(self, z: Tensor) -> Tensor:
        x: Tensor = self.layers(z)
        return x


class _Block(nn.Module):
    """x + MLP(x), the identity at the start."""

    def __init__(self, features: int, hidden: Sequence[int], activation: str) -> None:
        super().__init__()
        self.net = MLP(features, features, hidden=hidden, activation=activation, zero_last=True)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = x + self.net(x)
        return out


def orthonormal(inputs: int, outputs: int) -> nn.Linear:
    """A linear layer that starts with orthonormal rows or columns and no bias.

    `orthonormal(n, m)` starts as the transpose of `orthonormal(m, n)`; a square one starts
    as the identity.
    """
    layer = nn.Linear(inputs, outputs)
    large, small = max(inputs, outputs), min(inputs, outputs)
    generator = torch.Generator().manual_seed(SEED)
    q = torch.linalg.qr(torch.randn(large, small, generator=generator)).Q
    if large == small:
        q = torch.eye(large)
    with torch.no_grad():
        layer.weight.copy_(q if outputs == large else q.T)
        layer.bias.zero_()
    return layer
