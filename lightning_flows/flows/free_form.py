"""Free-form flows: any encoder with any decoder."""

import warnings
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from lightning_flows.core.errors import ConfigError, ShapeError
from lightning_flows.core.shapes import Shape, check_batch
from lightning_flows.flows.assemble import BaseFactory
from lightning_flows.flows.injective import InjectiveFlow
from lightning_flows.jacobians.products import tangents
from lightning_flows.nets import ResidualDecoder, ResidualEncoder

__all__ = ["CoderFactory", "FreeFormFlow"]

CoderFactory = Callable[[Shape, int], nn.Module]
"""Makes an encoder or a decoder from the event shape and the number of latents."""


class FreeFormFlow(InjectiveFlow):
    """A manifold as the image of a decoder, with an encoder that learns to invert it.

    Free-form injective flows (Sorrenson et al. 2024), and free-form flows where d = D (Draxler et
    al. 2024). Encoder and decoder must be differentiable twice, in forward mode too, and must treat
    every sample on its own. ReLUs give a warning: their second derivative is zero.

    Args:
        event_shape: shape of one data point; D is its number of entries.
        latent_features: dimension d of the manifold; half of D by default.
        encoder: makes the network from data to d latents; residual blocks by default.
        decoder: makes the network from d latents to data; residual blocks by default.
        prior: makes the density of the coordinates u; a small RealNVP by default.
        context_shape: shape of what the density on the manifold is conditioned on.

    Raises:
        ConfigError: d is not between 1 and D, or a network has train-mode batch normalization or
            a layer without forward-mode derivative.
        ShapeError: encoder and decoder do not fit.
    """

    full = True

    def __init__(
        self,
        event_shape: Sequence[int] | int,
        *,
        latent_features: int | None = None,
        encoder: CoderFactory | None = None,
        decoder: CoderFactory | None = None,
        prior: BaseFactory | None = None,
        context_shape: Sequence[int] | int | None = None,
    ) -> None:
        super().__init__(
            event_shape, latent_features=latent_features, prior=prior, context_shape=context_shape
        )
        d = self.manifold_shape[0]
        self.encoder = (ResidualEncoder if encoder is None else encoder)(self.event_shape, d)
        self.decoder = (ResidualDecoder if decoder is None else decoder)(self.event_shape, d)
        check_smooth(self.encoder, "encoder")
        check_smooth(self.decoder, "decoder")
        with torch.no_grad():
            self._check_shape(self.encoder, "encoder", self.event_shape, self.manifold_shape)
            self._check_shape(self.decoder, "decoder", self.manifold_shape, self.event_shape)
        check_forward_mode(self.encoder, "encoder", self.event_shape)
        check_forward_mode(self.decoder, "decoder", self.manifold_shape)

    def project(self, x: Tensor) -> Tensor:
        check_batch(x, self.event_shape, "x")
        u: Tensor = self.encoder(x)
        return u

    def embed(self, u: Tensor) -> Tensor:
        check_batch(u, self.manifold_shape, "u")
        x: Tensor = self.decoder(u)
        return x

    @staticmethod
    def _check_shape(net: nn.Module, name: str, given: Shape, wanted: Shape) -> None:
        try:
            shape = tuple(net(torch.zeros(2, *given)).shape[1:])
        except RuntimeError as error:
            raise ShapeError(f"The {name} refuses inputs of shape {given}: {error}") from error
        if shape != wanted:
            raise ShapeError(f"The {name} gives {shape} for inputs of {given}; wanted is {wanted}.")


@torch.no_grad()
def check_forward_mode(net: nn.Module, name: str, given: Shape) -> None:
    """Refuse networks that have no derivative along a direction.

    Raises:
        ConfigError: names the layer and the remedy.
    """
    inside = [name]  # modules that are running; where one fails it stays the last

    def enter(module: nn.Module, args: Any, path: str) -> None:
        inside.append(path)

    def leave(module: nn.Module, args: Any, output: Any) -> None:
        inside.pop()

    hooks = []
    for path, module in net.named_modules():
        full = f"{name}.{path} ({type(module).__name__})" if path else name
        hooks.append(module.register_forward_pre_hook(partial(enter, path=full)))
        hooks.append(module.register_forward_hook(leave))
    try:
        tangents(net, torch.zeros(2, *given), torch.ones(1, 2, *given))
    except RuntimeError as error:
        reason = str(error).partition("\n")[0]
        raise ConfigError(
            f"{inside[-1]} has no forward-mode derivative: write it in differentiable operations "
            f"of torch. ({reason})"
        ) from error
    finally:
        for hook in hooks:
            hook.remove()


def check_smooth(net: nn.Module, name: str) -> None:
    """Refuse networks whose Jacobian is not that of single samples, or cannot be had.

    Raises:
        ConfigError: names the layer and the remedy.
    """
    for path, module in net.named_modules():
        if isinstance(module, nn.modules.batchnorm._BatchNorm):
            raise ConfigError(
                f"{name}.{path} is {type(module).__name__}, which makes the Jacobian of a sample "
                "depend on its batch: use GroupNorm or LayerNorm."
            )
        if isinstance(module, nn.MultiheadAttention | nn.TransformerEncoderLayer):
            raise ConfigError(
                f"{name}.{path} is {type(module).__name__}, whose fused attention has no "
                "forward-mode derivative: use lightning_flows.nets.Attention."
            )
        if isinstance(module, nn.ReLU | nn.LeakyReLU):
            warnings.warn(
                f"{name}.{path} is {type(module).__name__}, whose second derivative is zero: "
                "surrogate gradients lose the curvature. SiLU, GELU or softplus do better.",
                stacklevel=2,
            )
