"""Stacks of layers with what stands between them."""

from collections.abc import Callable, Sequence
from typing import Literal

from lightning_flows.bases.base import Density
from lightning_flows.core.errors import ConfigError, check_least
from lightning_flows.core.shapes import Shape, as_shape, size
from lightning_flows.transforms import ActNorm, Chain, LULinear, Permutation, Reshape, Transform

__all__ = ["BaseFactory", "Mixing", "assemble", "flatten", "mix"]

BaseFactory = Callable[[Shape], Density]
"""Makes the base density from the shape of the latent."""

Mixing = Literal["none", "permutation", "lu"]


def assemble(
    event_shape: Sequence[int] | int,
    layers: int,
    layer: Callable[[int, int], Transform],
    *,
    mixing: Mixing = "none",
    actnorm: bool = False,
    interleave: bool = False,
) -> Chain:
    """Flatten the event, then stack layers with what stands between them.

    Args:
        event_shape: shape of one data point.
        layers: number of layers.
        layer: makes layer i from the number of features and i.
        mixing: none, permutation or lu: what stands before layers 2, 4, 6 and so on.
        actnorm: whether an ActNorm stands before every layer.
        interleave: whether every second entry goes to the first half, so that neighbors in data
            (pixels, columns that belong together) stand in different halves.

    Raises:
        ConfigError: fewer than one layer, or an unknown mixing.
    """
    check_least(1, layers=layers)
    features = size(as_shape(event_shape))
    parts = flatten(event_shape, interleave=interleave)
    for i in range(layers):
        mixed = mix(mixing, features, seed=i)
        if i and i % 2 == 0:
            parts += mixed
        if actnorm:
            parts.append(ActNorm(features))
        parts.append(layer(features, i))
    return Chain(parts)


def flatten(event_shape: Sequence[int] | int, *, interleave: bool) -> list[Transform]:
    """What stands first: the event as a vector, every second entry of it in the first half."""
    shape = as_shape(event_shape)
    features = size(shape)
    parts: list[Transform] = [] if len(shape) == 1 else [Reshape(shape, (features,))]
    if interleave and features > 2:
        parts.append(Permutation(features, [*range(0, features, 2), *range(1, features, 2)]))
    return parts


def mix(mixing: Mixing, features: int, seed: int) -> list[Transform]:
    """What stands between layers.

    Raises:
        ConfigError: an unknown mixing.
    """
    if mixing not in ("none", "permutation", "lu"):
        raise ConfigError(f"mixing is {mixing!r}; accepted are 'none', 'permutation' and 'lu'.")
    if mixing == "none" or features == 1:
        return []
    return [LULinear(features) if mixing == "lu" else Permutation(features, seed=seed)]
