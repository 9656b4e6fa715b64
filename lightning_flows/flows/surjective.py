"""Flows that lose dimensions on the way, with exact likelihoods."""

from collections.abc import Sequence
from itertools import pairwise
from typing import Any

from lightning_flows.bases import ConditionalNormal, DensityFactory
from lightning_flows.core.errors import ConfigError
from lightning_flows.core.shapes import as_shape, size
from lightning_flows.flows.assemble import BaseFactory, Mixing, flatten, mix
from lightning_flows.flows.base import Flow
from lightning_flows.transforms import Chain, SplineCoupling, SplineFunnel

__all__ = ["SurjectiveSplineFlow"]


class SurjectiveSplineFlow(Flow):
    """Spline couplings, and spline funnels where the width falls (Klein et al. 2021).

    The list of widths says how many features each layer hands on: a layer that keeps them is a
    coupling, one that reduces them is a funnel. The likelihood is exact. Splines are the identity
    outside [-bound, bound]: standardize data.

    Args:
        event_shape: shape of one data point; D is its number of entries.
        widths: features after each layer, such as (64, 64, 32, 16); D, D, D/2 and D/4, rounded
            up, by default. The last one is the size of the latent.
        bins: number of bins of each spline.
        bound: half-width of the interval that splines act on, in units of the data.
        hidden: width of each hidden layer of the conditioners.
        activation: relu, silu, tanh, gelu, elu or softplus.
        mixing: none, permutation or lu: what stands before each funnel and before couplings 2, 4,
            6 and so on.
        density: makes the density of what a funnel drops, as in `Funnel`.
        base: makes the base density from the latent shape; standard normal by default.
        context_shape: shape of what the density is conditioned on.

    Raises:
        ConfigError: no widths, or widths that rise; another option is out of range.
    """

    def __init__(
        self,
        event_shape: Sequence[int] | int,
        *,
        widths: Sequence[int] | None = None,
        bins: int = 8,
        bound: float = 5.0,
        hidden: Sequence[int] = (128, 128),
        activation: str = "relu",
        mixing: Mixing = "lu",
        density: DensityFactory = ConditionalNormal,
        base: BaseFactory | None = None,
        context_shape: Sequence[int] | int | None = None,
    ) -> None:
        features = size(as_shape(event_shape))
        if widths is None:
            widths = (features, features, -(-features // 2), -(-features // 4))
        if not widths or min(widths) < 1 or any(a < b for a, b in pairwise([features, *widths])):
            raise ConfigError(
                f"widths is {list(widths)}; data has {features} entries, so accepted are positive "
                "integers that start from there and never rise."
            )
        options: dict[str, Any] = {
            "bins": bins,
            "bound": bound,
            "hidden": hidden,
            "activation": activation,
            "context_shape": context_shape,
        }
        parts = flatten(event_shape, interleave=True)
        couplings = 0
        for i, width in enumerate(widths):
            mixed = mix(mixing, features, seed=i)
            if width < features:
                parts += [*mixed, SplineFunnel(features, width, density=density, **options)]
            else:
                if couplings and couplings % 2 == 0:
                    parts += mixed
                parts.append(SplineCoupling(features, swap=couplings % 2 == 1, **options))
                couplings += 1
            features = width
        super().__init__(Chain(parts), None if base is None else base((features,)))
