"""Mixture of diagonal normals."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from lightning_flows.bases.base import Density
from lightning_flows.bases.categorical import draw_categories
from lightning_flows.bases.normal import normal_log_prob
from lightning_flows.core.errors import check_from_zero, check_least
from lightning_flows.core.noise import normal_noise

__all__ = ["NormalMixture"]


class NormalMixture(Density):
    """A learned mixture of diagonal normal densities.

    Samples carry gradients to means and scales, not to the weights.

    Args:
        event_shape: shape of one point.
        components: number of normals.
        spread: standard deviation of the means at the start, drawn with `seed`.
        seed: seed of the means, so that all processes start alike.

    Raises:
        ConfigError: fewer than one component, or a negative spread.
    """

    def __init__(
        self,
        event_shape: Sequence[int] | int,
        *,
        components: int = 8,
        spread: float = 1.0,
        seed: int = 0,
    ) -> None:
        super().__init__(event_shape)
        check_least(1, components=components)
        check_from_zero(spread=spread)
        generator = torch.Generator().manual_seed(seed)
        means = spread * torch.randn(components, *self.event_shape, generator=generator)
        self.loc = nn.Parameter(means)
        self.log_scale = nn.Parameter(torch.zeros(components, *self.event_shape))
        self.logits = nn.Parameter(torch.zeros(components))

    @property
    def reparametrized(self) -> bool:
        return False

    def log_prob(self, x: Tensor, context: Tensor | None = None) -> Tensor:
        components = len(self.logits)
        points = x[:, None].expand(-1, components, *self.event_shape).flatten(0, 1)
        loc = self.loc.repeat(len(x), *[1] * len(self.event_shape))
        log_scale = self.log_scale.repeat(len(x), *[1] * len(self.event_shape))
        each = normal_log_prob(points, loc, log_scale).unflatten(0, (len(x), components))
        return torch.logsumexp(each + torch.log_softmax(self.logits, 0), 1)

    def draw(self, n: int, context: Tensor | None = None, temperature: float = 1.0) -> Tensor:
        which = draw_categories(self.logits.expand(n, -1)).long()
        noise = normal_noise((n, *self.event_shape), self.loc)
        return self.loc[which] + temperature * self.log_scale[which].exp() * noise
