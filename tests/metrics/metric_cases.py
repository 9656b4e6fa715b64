"""Metrics with their functions and formulas. A new one is one line in `CASES`."""

from typing import Any

import torch
from scipy.linalg import sqrtm
from torch import Tensor

from lightning_flows import metrics
from proofs.metric import MetricCase


def two_samples(metric: Any, x: Tensor, y: Tensor) -> None:
    metric.update(x, real=False)
    metric.update(y, real=True)


def scored(metric: Any, x: Tensor, y: Tensor) -> None:
    metric.update(x[:, 0], foreign=False)
    metric.update(y[:, 0], foreign=True)


def trained(metric: Any, x: Tensor, y: Tensor) -> None:
    for points, foreign in ((x, False), (y, True)):
        metric.update(points[:, 0], foreign=foreign, train=True)
        metric.update(points[:, 1], foreign=foreign, train=False)


def decoder(z: Tensor) -> Tensor:
    return z.sin() + z.roll(1, 1)


def jacobians(z: Tensor) -> Tensor:
    """Of the decoder, (batch, 3, 3)."""
    return torch.diag_embed(z.cos()) + torch.eye(3).roll(1, 0).to(z)


def axes(x: Tensor) -> Tensor:
    return x.abs()[:, None] / x.norm(dim=1)[:, None, None]


def frechet(x: Tensor, y: Tensor) -> float:
    x, y = ((z - y.mean(0)) / y.std(0) for z in (x, y))
    first, second = x.mT.cov(), y.mT.cov()
    root = torch.as_tensor(sqrtm((first @ second).numpy()).real)
    return float((x.mean(0) - y.mean(0)).square().sum() + (first + second - 2 * root).trace())


def area(x: Tensor, y: Tensor) -> Tensor:
    return (y[:, :1] > x[:, 0]).double().mean()


def condition(x: Tensor, y: Tensor) -> Tensor:
    slopes = x.cos().abs()
    numbers = (slopes.amax(1) / slopes.amin(1)).sort().values
    return numbers[len(numbers) // 2 - 1 : len(numbers) // 2 + 1].mean()


def entropy(x: Tensor, y: Tensor) -> Tensor:
    columns = jacobians(x)[:, :, [0, 2]]
    base = torch.distributions.Normal(0.0, 1.0).log_prob(x[:, [0, 2]]).sum(1)
    return (0.5 * torch.logdet(columns.mT @ columns) - base).mean()


def correlation(x: Tensor, y: Tensor) -> Tensor:
    j = jacobians(x)
    return (j.norm(dim=1).log().sum(1) - 0.5 * torch.logdet(j.mT @ j)).mean()


def effective(x: Tensor, y: Tensor) -> Tensor:
    weights = x[:, 0].double().exp()
    return weights.mean().square() / weights.square().mean()


def evidence(x: Tensor, y: Tensor) -> Tensor:
    return x[:, 0].double().exp().mean().log()


def participation(x: Tensor, y: Tensor) -> Tensor:
    variances = x.square()
    return (variances.sum(1).square() / variances.square().sum(1)).mean()


CASES: dict[str, MetricCase] = {
    "Fréchet": MetricCase(
        lambda: metrics.FrechetDistance(3), two_samples, metrics.frechet_distance, frechet
    ),
    "sliced Wasserstein": MetricCase(
        lambda: metrics.SlicedWasserstein(directions=16),
        two_samples,
        lambda x, y: metrics.sliced_wasserstein(x, y, directions=16),
        error={"groups": 5},
    ),
    "MMD": MetricCase(
        metrics.MaximumMeanDiscrepancy, two_samples, metrics.mmd, None, {"groups": 5}
    ),
    "AUROC": MetricCase(
        metrics.OutOfDistributionAUROC, scored, lambda x, y: metrics.auroc(x[:, 0], y[:, 0]), area
    ),
    "stump": MetricCase(
        metrics.StumpAccuracy,
        trained,
        lambda x, y: metrics.stump_accuracy(x[:, 0], y[:, 0], x[:, 1], y[:, 1]),
    ),
    "gap": MetricCase(
        metrics.EncoderDecoderGap,
        lambda metric, x, y: metric.update(torch.sin, torch.atan, x),
        lambda x, y: metrics.encoder_decoder_gap(torch.sin, torch.atan, x).mean(),
        error={},
    ),
    "condition": MetricCase(
        metrics.ConditionNumber,
        lambda metric, x, y: metric.update(torch.sin, x),
        lambda x, y: metrics.condition_number(torch.sin, x).quantile(0.5),
        condition,
    ),
    "entropy": MetricCase(
        lambda: metrics.ManifoldEntropy(latents=[0, 2]),
        lambda metric, x, y: metric.update(decoder, x),
        lambda x, y: metrics.manifold_entropy(decoder, x, latents=[0, 2]).mean(),
        entropy,
        {},
    ),
    "total correlation": MetricCase(
        metrics.TotalCorrelation,
        lambda metric, x, y: metric.update(decoder, x),
        lambda x, y: metrics.total_correlation(decoder, x).mean(),
        correlation,
        {},
    ),
    "participation": MetricCase(
        metrics.ParticipationRatio,
        lambda metric, x, y: metric.update(x.abs()),
        lambda x, y: metrics.participation_ratio(x.abs()).mean(),
        participation,
        {},
    ),
    "dimension": MetricCase(
        lambda: metrics.IntrinsicDimension(noise=0.5),
        lambda metric, x, y: metric.update(x.abs()),
        lambda x, y: metrics.intrinsic_dimension(x.abs(), noise=0.5).double().mean(),
        error={},
    ),
    "effective samples": MetricCase(
        metrics.EffectiveSampleSize,
        lambda metric, x, y: metric.update(x[:, 0]),
        lambda x, y: metrics.effective_sample_size(x[:, 0], fraction=True),
        effective,
    ),
    "effective samples (number)": MetricCase(
        lambda: metrics.EffectiveSampleSize(fraction=False),
        lambda metric, x, y: metric.update(x[:, 0]),
        lambda x, y: metrics.effective_sample_size(x[:, 0]),
    ),
    "evidence": MetricCase(
        metrics.LogEvidence,
        lambda metric, x, y: metric.update(x[:, 0]),
        lambda x, y: metrics.log_evidence(x[:, 0]).value,
        evidence,
        {},
    ),
    "affine gain": MetricCase(
        lambda: metrics.AffineGain(rotations=0),
        lambda metric, x, y: metric.update(x + y),
        lambda x, y: metrics.affine_gain(x + y, rotations=0).gain,
        error={},
    ),
    "spanned dimension": MetricCase(
        lambda: metrics.SpannedDimension(3, noise=0.5),
        lambda metric, x, y: metric.update(axes(x), x[:, :1].abs()),
        lambda x, y: metrics.spanned_dimension(axes(x), x[:, :1].abs(), noise=0.5),
    ),
}
