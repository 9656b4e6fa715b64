"""A multi-scale flow whose splits follow what entries add to the likelihood."""

from collections.abc import Sequence
from typing import Any, Literal

import torch
from torch import Tensor

from lightning_flows.core.errors import ShapeError, check_least
from lightning_flows.core.shapes import Shape, as_shape
from lightning_flows.flows.assemble import BaseFactory, assemble
from lightning_flows.flows.base import Flow
from lightning_flows.flows.glow import glow_steps
from lightning_flows.transforms import AffineCoupling, Chain, Multiscale, Squeeze, Transform
from lightning_flows.transforms.bijections.ranking import Ranking, entry_contributions

__all__ = ["RankedFlow"]


class RankedFlow(Flow):
    """Multi-scale flow that chooses what leaves early by likelihood contribution.

    After each level but the last, half of the entries become latent: those that have added most to
    the log-likelihood so far, or least (Das, Abbeel and Spanos 2019). The order is a buffer; the
    callback `ContributionRanking` fills it from data during training, and the likelihood is exact
    before and after. Until then the splits are fixed ones.

    Levels of an image are those of `Glow`; at a split each block of 2 x 2 pixels is ranked by
    itself, and two of its four pixels leave (see `Ranking`). Levels of a vector are affine
    couplings with fixed permutations and no learned mixing, which would blur whose contribution
    it was. Latents are flat; those of the last level come last.

    Args:
        event_shape: (features,), or (channels, height, width) with sides that are multiples of
            2 ** levels.
        levels: number of levels, 2 or more.
        steps: number of couplings in each level.
        early: whether entries of high or of low contribution leave early.
        hidden: width, for images channels, of each hidden layer of the conditioners.
        activation: relu, silu, tanh, gelu, elu or softplus.
        bound: largest absolute log-scale of one coupling.
        actnorm: whether an ActNorm stands before every coupling; `initialize`, which modules
            call, sets it from the first batch.
        base: makes the base density from the latent shape; standard normal by default.
        context_shape: shape of what the density is conditioned on.

    Raises:
        ConfigError: fewer than two levels, fewer than one step, or an unknown `early`; another
            option is out of range.
        ShapeError: neither a vector nor an image, or too small for so many levels.
    """

    transform: Multiscale

    def __init__(
        self,
        event_shape: Sequence[int] | int,
        *,
        levels: int = 2,
        steps: int = 4,
        early: Literal["high", "low"] = "high",
        hidden: Sequence[int] = (64, 64),
        activation: str = "tanh",
        bound: float = 1.0,
        actnorm: bool = True,
        base: BaseFactory | None = None,
        context_shape: Sequence[int] | int | None = None,
    ) -> None:
        check_least(2, levels=levels)
        check_least(1, steps=steps)
        shape = as_shape(event_shape)
        vector = len(shape) == 1
        fits = shape[0] > 2 ** (levels - 2) if vector else len(shape) == 3
        if not fits or any(side % 2**levels for side in shape[1:]):
            raise ShapeError(
                f"event_shape is {shape}; RankedFlow with levels={levels} takes vectors of "
                f"{2 ** (levels - 2) + 1} features or more, or (channels, height, width) with "
                f"sides that are multiples of {2**levels}."
            )

        def coupling(features: Sequence[int] | int, i: int) -> Transform:
            return AffineCoupling(
                features,
                bound=bound,
                hidden=hidden,
                activation=activation,
                swap=i % 2 == 1,
                context_shape=context_shape,
            )

        def level(shape: Shape, first: bool, last: bool) -> Chain:
            parts: list[Transform] = []
            if vector:
                stack = assemble(
                    shape, steps, coupling, mixing="permutation", actnorm=actnorm, interleave=first
                )
                parts.append(stack)
            else:
                if first:
                    parts.append(Squeeze(shape))
                    shape = parts[0].latent_shape
                parts += glow_steps(shape, steps, coupling, actnorm=actnorm)
            return Chain(parts if last else [*parts, Ranking(shape, early=early)])

        scales = [level(shape, True, False)]
        while len(scales) < levels:
            channels, *sides = scales[-1].latent_shape
            kept = (channels - channels // 2, *sides)
            scales.append(level(kept, False, len(scales) == levels - 1))
        transform = Multiscale(scales)
        super().__init__(transform, None if base is None else base(transform.latent_shape))

    @property
    def rankings(self) -> list[Ranking]:
        """What stands before each split, in the order of the levels."""
        return [part for part in self.transform.modules() if isinstance(part, Ranking)]

    @torch.no_grad()
    def contributions(self, x: Tensor, split: int, context: Tensor | None = None) -> Tensor:
        """What each entry that reaches a split has added to the log-likelihood by then.

        Args:
            x: data, (batch, *event_shape).
            split: which one, from 0 up.
            context: (batch, *context_shape), or None.

        Returns:
            (batch, *shape before the split), nats.
        """
        self.check(x, context)
        carried = torch.zeros_like(x)
        levels: list[Any] = list(self.transform.levels)
        for level in levels[:split]:
            x, carried = entry_contributions(level, x, context, carried)
            left = x.shape[1] // 2
            x, carried = x[:, left:], carried[:, left:]
        before = Chain(list(levels[split].transforms)[:-1])
        return entry_contributions(before, x, context, carried)[1]

    def rank(self, split: int, scores: Tensor) -> None:
        """Set the order of a split from mean contributions, (*shape before the split), nats.

        Raises:
            ShapeError: scores of another shape.
        """
        self.rankings[split].rank(scores)

    @property
    def ranked(self) -> list[bool]:
        """Which splits have been ranked."""
        return [bool(ranking.ranked) for ranking in self.rankings]
