"""From an ordinary network to a chain of transforms."""

from collections.abc import Iterator, Sequence

from torch import nn

from lightning_flows.core.errors import ConfigError, ShapeError
from lightning_flows.core.shapes import Shape, as_shape, size
from lightning_flows.transforms.base import Transform
from lightning_flows.transforms.bijections.elementwise import LeakyReLU
from lightning_flows.transforms.bijections.reshape import Reshape
from lightning_flows.transforms.chain import Chain
from lightning_flows.transforms.surjections.flowified import FlowConv2d, FlowLinear

__all__ = ["flowify"]


def flowify(
    network: nn.Sequential, event_shape: Sequence[int] | int, *, noise: float = 1.0
) -> Chain:
    """Turn a network into a chain that computes it, with a likelihood and a way back.

    Linear, Conv2d, LeakyReLU and Flatten are turned, also in nested Sequentials. The chain starts
    from the network's weights: without the noise that padding, overlapping windows and expanding
    layers add, `encode` gives what the network gives.

    Args:
        network: the network; it is not changed.
        event_shape: shape of one data point.
        noise: standard deviation of the noise of convolutions at the start, as in `FlowConv2d`.

    Returns:
        A chain in the dtype and on the device of the network.

    Raises:
        ConfigError: layers that cannot be turned, named with the reason.
        ShapeError: a layer does not take what comes, or a convolution leaves out pixels.
    """
    layers = list(_leaves(network))
    refused = [f"{name} ({why})" for name, layer in layers if (why := _obstacle(layer))]
    if refused:
        raise ConfigError(f"flowify cannot turn {', '.join(refused)}.")
    shape = as_shape(event_shape)
    parts: list[Transform] = []
    for name, layer in layers:
        part = _turn(name, layer, shape, noise)
        if part is not None:
            parts.append(part)
            shape = part.latent_shape
    if not parts:
        raise ConfigError("flowify needs at least one layer; the network has none that acts.")
    chain = Chain(parts)
    like = next(network.parameters(), None)
    return chain if like is None else chain.to(like.device, like.dtype)


def _leaves(network: nn.Module, prefix: str = "layer ") -> Iterator[tuple[str, nn.Module]]:
    for name, layer in network.named_children():
        if isinstance(layer, nn.Sequential):
            yield from _leaves(layer, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", layer


def _obstacle(layer: nn.Module) -> str | None:
    """Why a layer cannot be turned, or None."""
    kind = type(layer).__name__
    if isinstance(layer, nn.Conv2d):
        if layer.groups != 1:
            return f"{kind} with {layer.groups} groups"
        if tuple(layer.dilation) != (1, 1):
            return f"{kind} with dilation {tuple(layer.dilation)}"
        if isinstance(layer.padding, str) or layer.padding_mode != "zeros":
            return f"{kind} whose padding is {layer.padding!r}, {layer.padding_mode}"
        return None
    if isinstance(layer, nn.LeakyReLU):
        return None if layer.negative_slope > 0 else f"{kind} with slope {layer.negative_slope}"
    if isinstance(layer, nn.Flatten):
        whole = layer.start_dim == 1 and layer.end_dim == -1
        return None if whole else f"{kind} of some dimensions"
    if isinstance(layer, nn.Linear | nn.Identity):
        return None
    return f"{kind} is none of Linear, Conv2d, LeakyReLU, Flatten and Identity"


def _turn(name: str, layer: nn.Module, shape: Shape, noise: float) -> Transform | None:
    """The transform that does what a layer does, or None where that is nothing."""
    if isinstance(layer, nn.Linear):
        if shape != (layer.in_features,):
            raise ShapeError(f"{name} takes ({layer.in_features},); what comes has shape {shape}.")
        linear = FlowLinear(layer.in_features, layer.out_features)
        linear.set_weight(layer.weight, layer.bias)
        return linear
    if isinstance(layer, nn.Conv2d):
        if len(shape) != 3 or shape[0] != layer.in_channels:
            raise ShapeError(
                f"{name} takes images of {layer.in_channels} channels; "
                f"what comes has shape {shape}."
            )
        assert not isinstance(layer.padding, str)
        convolution = FlowConv2d(
            shape,
            layer.out_channels,
            layer.kernel_size,
            stride=layer.stride,
            padding=layer.padding,
            noise=noise,
        )
        convolution.set_weight(layer.weight, layer.bias)
        return convolution
    if isinstance(layer, nn.LeakyReLU):
        return LeakyReLU(shape, layer.negative_slope)
    if isinstance(layer, nn.Flatten) and len(shape) > 1:
        return Reshape(shape, (size(shape),))
    return None
