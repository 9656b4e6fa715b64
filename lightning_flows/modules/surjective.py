"""Maximum likelihood, or of its lower bound, for flows with surjections and stochastic maps."""

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from lightning_flows.core.errors import check_least
from lightning_flows.core.noise import Resampled
from lightning_flows.core.signatures import Options
from lightning_flows.modules.base import FlowFactory, ModuleOptions
from lightning_flows.modules.density import DensityModule

__all__ = ["SurjectiveModule"]


class SurjectiveModule(DensityModule):
    """Trains a flow whose layers drop, add or draw something: the likelihood, or a bound of it.

    Where every layer is a bijection or an inference surjection the flow is `exact`, and this is a
    `DensityModule`: it logs `nll`. Elsewhere it maximizes a lower bound (Nielsen et al. 2020) and
    logs that as `elbo`. At test it also logs `iwbo_<k>`, the importance-weighted bound of k draws
    (Burda et al. 2016), which is never below the ELBO of the same draws and rises towards the
    log-density with k. All noise is drawn anew for each of the k, that of dequantization
    included.

    In evaluation mode noise is a hash of the data (`core.noise`). In a Trainer bounds are the same
    for any batch size and any number of ranks. `elbo_se` and `iwbo_<k>_se` are their standard
    errors, as `FlowModule` says; that the IWBO of few draws lies below the log-density is no part
    of its standard error.

    Args:
        flow: makes the flow from the event shape: ComposedFlow, or any other.
        event_shape: shape of one data point.
        context_shape: shape of what the density is conditioned on.
        iw_samples: draws k of the importance-weighted bound at test; 0 leaves it out.
        iw_samples_val: the same at validation.
        chunk_size: draws for each data point that are scored at a time.
        options: those of `FlowModule`.

    Raises:
        ConfigError: a negative number of draws, no draw in a chunk, or another option is out of
            range.
    """

    def __init__(
        self,
        flow: FlowFactory,
        event_shape: Sequence[int] | int,
        context_shape: Sequence[int] | int | None = None,
        *,
        iw_samples: int = 100,
        iw_samples_val: int = 0,
        chunk_size: int = 10,
        **options: Options[ModuleOptions],
    ) -> None:
        super().__init__(flow, event_shape, context_shape, **options)
        check_least(0, iw_samples=iw_samples, iw_samples_val=iw_samples_val)
        check_least(1, chunk_size=chunk_size)
        self.iw_samples = iw_samples
        self.iw_samples_val = iw_samples_val
        self.chunk_size = chunk_size

    def log_weights(self, x: Tensor, context: Tensor | None = None, *, n: int) -> Tensor:
        """Log-densities of n draws of all noise, for each data point.

        Their mean estimates the ELBO; the mean of their exponentials has the density itself as
        its expectation.

        Args:
            x: data in original units, (batch, *event_shape).
            context: (batch, *context_shape), or None.
            n: number of draws.

        Returns:
            (batch, n), nats.
        """
        pieces = []
        for draws in torch.arange(n, device=x.device).split(self.chunk_size):
            rows = x.repeat_interleave(len(draws), 0)
            given = None if context is None else context.repeat_interleave(len(draws), 0)
            with Resampled(draws.repeat(len(x)), copies=len(draws)):
                pieces.append(self.log_prob(rows, given).unflatten(0, (len(x), len(draws))))
        return torch.cat(pieces, 1)

    def evaluate(self, x: Tensor, context: Tensor | None) -> dict[str, Tensor]:
        return self._bounds(x, context, self.iw_samples_val)

    def evaluate_test(self, x: Tensor, context: Tensor | None) -> dict[str, Tensor]:
        return self._bounds(x, context, self.iw_samples)

    def _bounds(self, x: Tensor, context: Tensor | None, n: int) -> dict[str, Tensor]:
        """Loss and names of `DensityModule`; with n draws their mean is the ELBO."""
        if self.exact or not n:
            return super().evaluate(x, context)
        weights = self.log_weights(x, context, n=n)
        elbo = weights.mean(1)
        iwbo = weights.logsumexp(1) - math.log(n)
        return {"elbo": elbo, f"iwbo_{n}": iwbo, **self._scored(elbo, x, context)}
