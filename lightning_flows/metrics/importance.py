"""Importance sampling: effective sample size and log-evidence of draws with known log-weights."""

import math
from typing import NamedTuple

import torch
from torch import Tensor
from torchmetrics import Metric

from lightning_flows.core.errors import ShapeError

__all__ = [
    "EffectiveSampleSize",
    "Evidence",
    "LogEvidence",
    "LogEvidenceError",
    "effective_sample_size",
    "log_evidence",
]


class Evidence(NamedTuple):
    """An estimate of a log-evidence.

    Args:
        value: log Z, nats.
        standard_error: of log Z, by the delta method: that of the mean weight, relative to it.
    """

    value: Tensor
    standard_error: Tensor


def effective_sample_size(log_weights: Tensor, *, fraction: bool = False) -> Tensor:
    """Number of equal weights that weights are worth, (Σw)² / Σw² (Kong 1992).

    It is between 1 and n. Where the proposal misses a part of the target no draw says so, and the
    number is too large.

    Args:
        log_weights: log p̃(x) - log q(x) of draws x from q, (..., n), nats; -inf is no weight.
        fraction: whether to divide by n, so that 1 is a perfect proposal.

    Returns:
        (...), without a unit; NaN where there are no draws, or all of them are without weight.
    """
    counted, first, second = _sums(log_weights).unbind(-1)
    found = _size(first, second)
    return (found / counted if fraction else found).to(log_weights.dtype)


def log_evidence(log_weights: Tensor) -> Evidence:
    """Log of the mean weight, which estimates log Z of an unnormalized target p̃ = Z p.

    The mean weight is unbiased; its logarithm is too low by about half of its squared standard
    error on average. The standard error can be trusted where the effective sample size is above a
    hundred or so.

    Args:
        log_weights: log p̃(x) - log q(x) of draws x from q, (..., n), nats; -inf is no weight.

    Returns:
        The value and its standard error, each (...), nats; NaN where there are no draws.
    """
    sums = _sums(log_weights)
    return Evidence(_mean(sums).to(log_weights.dtype), _standard_error(sums).to(log_weights.dtype))


class _Weighted(Metric):
    """Base of metrics of log-weights: their number, and logarithms of Σw and Σw²."""

    is_differentiable = False
    full_state_update = False

    sums: Tensor

    def __init__(self, **kwargs: object) -> None:
        super().__init__(**kwargs)
        empty = torch.tensor([0.0, -math.inf, -math.inf], dtype=torch.float32)
        self.add_state("sums", empty, dist_reduce_fx=_joined)

    def update(self, log_weights: Tensor) -> None:
        """Take log p̃(x) - log q(x) of some draws, of any shape, nats."""
        part = _sums(log_weights.detach().flatten())
        self.sums = _joined(torch.stack([self.sums.to(part), part]))


class EffectiveSampleSize(_Weighted):
    """`effective_sample_size` of all draws, of whatever batch and rank.

    Args:
        fraction: whether to divide by the number of draws, so that 1 is a perfect proposal.
        kwargs: options of `torchmetrics.Metric`.
    """

    higher_is_better = True

    def __init__(self, *, fraction: bool = True, **kwargs: object) -> None:
        super().__init__(**kwargs)
        self.fraction = fraction

    def compute(self) -> Tensor:
        """The size so far, a scalar; NaN where there were no draws."""
        counted, first, second = self.sums
        found = _size(first, second)
        return found / counted if self.fraction else found


class LogEvidence(_Weighted):
    """`log_evidence` of all draws, of whatever batch and rank.

    Args:
        kwargs: options of `torchmetrics.Metric`.
    """

    def compute(self) -> Tensor:
        """Log of the mean weight so far, a scalar, nats; NaN where there were no draws."""
        return _mean(self.sums)

    def standard_error(self) -> Tensor:
        """The standard error, a scalar, nats. Under several processes all have to ask for it."""
        with self.sync_context(dist_sync_fn=self.dist_sync_fn):
            return _standard_error(self.sums)


class LogEvidenceError(_Weighted):
    """Standard error of the log-evidence of all draws, as `LogEvidence.standard_error` gives it.

    Args:
        kwargs: options of `torchmetrics.Metric`.
    """

    higher_is_better = False

    def compute(self) -> Tensor:
        """The standard error so far, a scalar, nats; NaN where there were fewer than two draws."""
        return _standard_error(self.sums)


def _sums(log_weights: Tensor) -> Tensor:
    """Number of draws, log Σw and log Σw²: (..., n) -> (..., 3)."""
    if not log_weights.ndim:
        raise ShapeError("log_weights is a single number; expected is (..., n), one for each draw.")
    # log Σw² is subtracted from 2 log Σw; an Apple GPU has nothing wider
    wide = log_weights.float() if log_weights.device.type == "mps" else log_weights.double()
    counted = wide.new_full(wide.shape[:-1], wide.shape[-1])
    return torch.stack([counted, wide.logsumexp(-1), (2 * wide).logsumexp(-1)], -1)


def _joined(parts: Tensor) -> Tensor:
    """Sums of several sets together, (k, 3) to (3,)."""
    return torch.cat([parts[:, :1].sum(0), parts[:, 1:].logsumexp(0)])


def _size(first: Tensor, second: Tensor) -> Tensor:
    return (2 * first - second).exp()


def _mean(sums: Tensor) -> Tensor:
    counted, first, _ = sums.unbind(-1)
    return torch.where(counted > 0, first - counted.log(), torch.nan)


def _standard_error(sums: Tensor) -> Tensor:
    """By the delta method: √((n/ESS - 1) / (n - 1)), with ESS = (Σw)² / Σw²."""
    counted, first, second = sums.unbind(-1)
    excess = (counted / _size(first, second) - 1).clamp(min=0)  # rounding of equal weights
    return torch.where(counted > 1, (excess / (counted - 1)).sqrt(), torch.nan)
