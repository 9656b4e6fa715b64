"""Flows of images made of convolutional couplings."""

from collections.abc import Callable, Sequence

from lightning_flows.core.errors import ShapeError, check_least
from lightning_flows.core.shapes import Shape, as_shape
from lightning_flows.flows.assemble import BaseFactory
from lightning_flows.flows.base import Flow
from lightning_flows.transforms import (
    ActNorm,
    AffineCoupling,
    Chain,
    Multiscale,
    Orthogonal,
    Squeeze,
    Transform,
)

__all__ = ["Glow", "glow_steps"]


class Glow(Flow):
    """Multi-scale flow of images (Kingma and Dhariwal 2018).

    Each level turns blocks of 2 x 2 pixels into channels and goes through `steps` of ActNorm, a
    learned rotation of the channels (the invertible 1 x 1 convolution; scales are ActNorm's) and
    an affine coupling. After each level but the last, half of the channels become latent. Latents
    are flat; those of the last level come last.

    Args:
        event_shape: (channels, height, width); sides that are multiples of 2 ** levels.
        levels: number of levels.
        steps: number of couplings in each level.
        hidden: channels of each hidden layer of the conditioners.
        activation: relu, silu, tanh, gelu, elu or softplus. Where there are few images, tanh keeps
            the likelihood of an outlier finite; networks without bounds lose it there.
        bound: largest absolute log-scale of one coupling.
        actnorm: whether an ActNorm stands before every coupling; `initialize`, which modules
            call, sets it from the first batch.
        base: makes the base density from the latent shape; standard normal by default.
        context_shape: shape of what the density is conditioned on.

    Raises:
        ConfigError: fewer than one level or step.
        ShapeError: no image, or sides that cannot be halved as often.
    """

    def __init__(
        self,
        event_shape: Sequence[int] | int,
        *,
        levels: int = 2,
        steps: int = 4,
        hidden: Sequence[int] = (64, 64),
        activation: str = "tanh",
        bound: float = 1.0,
        actnorm: bool = True,
        base: BaseFactory | None = None,
        context_shape: Sequence[int] | int | None = None,
    ) -> None:
        check_least(1, levels=levels, steps=steps)
        shape = as_shape(event_shape)
        if len(shape) != 3 or shape[1] % 2**levels or shape[2] % 2**levels:
            raise ShapeError(
                f"event_shape is {shape}; Glow with levels={levels} takes (channels, height, "
                f"width) with sides that are multiples of {2**levels}."
            )

        def coupling(shape: Shape, i: int) -> Transform:
            return AffineCoupling(
                shape,
                bound=bound,
                hidden=hidden,
                activation=activation,
                swap=i % 2 == 1,
                context_shape=context_shape,
            )

        def level(shape: Shape) -> Chain:
            squeeze = Squeeze(shape)
            inner = squeeze.latent_shape
            return Chain([squeeze, *glow_steps(inner, steps, coupling, actnorm=actnorm)])

        scales = [level(shape)]
        while len(scales) < levels:
            channels, *sides = scales[-1].latent_shape
            scales.append(level((channels // 2, *sides)))
        transform = Multiscale(scales)
        super().__init__(transform, None if base is None else base(transform.latent_shape))


def glow_steps(
    shape: Shape, steps: int, coupling: Callable[[Shape, int], Transform], *, actnorm: bool
) -> list[Transform]:
    """Steps of one level: ActNorm, a rotation of the channels, and coupling number i."""
    parts: list[Transform] = []
    for i in range(steps):
        if actnorm:
            parts.append(ActNorm(shape))
        parts += [Orthogonal(shape), coupling(shape, i)]
    return parts
