"""The cone measure on level sets of ‖x‖_p: points of known density there."""

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from lightning_flows.bases.base import Density
from lightning_flows.core.areas import log_lp_volume
from lightning_flows.core.errors import ConfigError, check_positive
from lightning_flows.core.hypersurfaces import FLOOR, LpSphere, log_norm
from lightning_flows.core.noise import normal_noise, uniform_noise
from lightning_flows.core.outside import log_prob_inside
from lightning_flows.core.shapes import as_features

__all__ = ["ConeMeasure"]

ROUNDS = 12  # proposals for each entry: at least 0.95 are accepted, so all fail once in 4e15 times


class ConeMeasure(Density):
    """Directions of uniform points of the ball ‖x‖_p ≤ k, sent to its surface ‖x‖_p = k.

    Uniform on the surface for p = 1 and p = 2 alone: with d entries, volume V of the unit ball and
    ∇_i ∝ |x_i|^(p-1) the slope of ‖x‖_p, the density with respect to the area is

        p(x) = 1 / (d V k^(d-1) ‖∇‖x‖_p‖₂),

    and x / k = g / ‖g‖_p for g of density ∝ exp(-Σ |g_i|^p) (Schechtman and Zinn 1990).

    Args:
        event_shape: d, or (d,).
        p: exponent, positive; below 1 as well.
        level: k; None where its logarithm is the first entry of the context.
        positive: only the part whose entries are from 0 up.
        context_shape: shape of the context, where there is any.

    Raises:
        ConfigError: p or the level is not positive, or a level should come from no context.
        ShapeError: events are no vectors.
    """

    anchor: Tensor

    def __init__(
        self,
        event_shape: Sequence[int] | int,
        *,
        p: float = 2.0,
        level: float | None = 1.0,
        positive: bool = False,
        context_shape: Sequence[int] | int | None = None,
    ) -> None:
        check_positive(p=p, level=level)
        if level is None and context_shape is None:
            raise ConfigError(
                "level is None, so that it comes from the context; there is no context_shape."
            )
        features = as_features(event_shape, "ConeMeasure")
        super().__init__(features, context_shape, LpSphere(features - 1, float(p), level, positive))
        self.p = float(p)
        self.level = level
        self.positive = positive
        self.log_area = math.log(features) + log_lp_volume(features, p)
        if positive:
            self.log_area -= features * math.log(2)
        self.register_buffer("anchor", torch.zeros(()), persistent=False)  # device and dtype

    def log_prob(self, x: Tensor, context: Tensor | None = None) -> Tensor:
        def inside(x: Tensor) -> Tensor:
            log_level = self._log_level(len(x), context)
            logs = (x.abs() + FLOOR).log()
            slopes = (self.p - 1) * (logs - log_norm(x, self.p)[:, None])
            log_slope = (2 * slopes).logsumexp(1) / 2
            return -self.log_area - (x.shape[1] - 1) * log_level.to(x.dtype) - log_slope

        return log_prob_inside(self.support.given(context), x, inside)

    def draw(self, n: int, context: Tensor | None = None, temperature: float = 1.0) -> Tensor:
        """Draw points; `temperature` other than 1 is refused."""
        if temperature != 1:
            raise ConfigError(f"temperature is {temperature}; a ConeMeasure takes 1 alone.")
        shape = (n, *self.event_shape)
        logs = _log_gamma(1 / self.p, shape, self.anchor) / self.p
        signs = 1.0 if self.positive else 1 - 2 * (uniform_noise(shape, self.anchor) < 0.5).to(logs)
        logs = logs - (self.p * logs).logsumexp(1, keepdim=True) / self.p
        return signs * (logs + self._log_level(n, context)[:, None]).exp()

    def _log_level(self, rows: int, context: Tensor | None) -> Tensor:
        if self.level is not None:
            return self.anchor.new_full((rows,), math.log(self.level))
        assert context is not None
        return context.flatten(1)[:, 0].to(self.anchor)


def _log_gamma(shape: float, size: tuple[int, ...], like: Tensor) -> Tensor:
    """Logarithms of Gamma variables: the first proposal that is accepted (Marsaglia, Tsang 2000).

    For shape + 1, times a power of a uniform number, so that shapes below 1 keep their digits.
    """
    d = shape + 2 / 3
    rounds = (size[0], ROUNDS, *size[1:])
    normal, height = normal_noise(rounds, like), uniform_noise(rounds, like)
    cube = (1 + normal / (3 * math.sqrt(d))).clamp(min=1e-6).pow(3)
    accepted = height.log() < 0.5 * normal.square() + d * (1 - cube + cube.log())
    first = accepted.to(like.dtype).argmax(1, keepdim=True)
    chosen = cube.gather(1, first)[:, 0]
    return (d * chosen).log() + (1 - uniform_noise(size, like)).log() / shape
