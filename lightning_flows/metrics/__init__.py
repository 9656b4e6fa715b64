"""Metrics: distances between samples and data, health of maps, meaning of latents, evidence.

Each is a function of tensors and a `torchmetrics.Metric` that gathers batches for it, under any
number of processes.
"""

from lightning_flows.metrics.auroc import OutOfDistributionAUROC, auroc
from lightning_flows.metrics.condition import ConditionNumber, condition_number
from lightning_flows.metrics.entropy import (
    ManifoldEntropy,
    TotalCorrelation,
    manifold_entropy,
    total_correlation,
)
from lightning_flows.metrics.frechet import (
    FrechetDistance,
    frechet_distance,
    gaussian_frechet_distance,
)
from lightning_flows.metrics.gap import EncoderDecoderGap, encoder_decoder_gap
from lightning_flows.metrics.importance import (
    EffectiveSampleSize,
    Evidence,
    LogEvidence,
    effective_sample_size,
    log_evidence,
)
from lightning_flows.metrics.mass import Mass, log_mass
from lightning_flows.metrics.mmd import MaximumMeanDiscrepancy, mmd
from lightning_flows.metrics.sliced import SlicedWasserstein, sliced_wasserstein
from lightning_flows.metrics.span import SpannedDimension, spanned_dimension, spanned_variances
from lightning_flows.metrics.spectrum import (
    IntrinsicDimension,
    ParticipationRatio,
    intrinsic_dimension,
    participation_ratio,
)
from lightning_flows.metrics.stump import Stump, StumpAccuracy, fit_stump, stump_accuracy
from lightning_flows.metrics.truncation import (
    LatentOrder,
    TruncationCurve,
    latent_order,
    truncation_curve,
)
from lightning_flows.metrics.universality import (
    AffineGain,
    BlockGain,
    affine_gain,
    gaussian_affine_gain,
)

__all__ = [
    "AffineGain",
    "BlockGain",
    "ConditionNumber",
    "EffectiveSampleSize",
    "EncoderDecoderGap",
    "Evidence",
    "FrechetDistance",
    "IntrinsicDimension",
    "LatentOrder",
    "LogEvidence",
    "ManifoldEntropy",
    "Mass",
    "MaximumMeanDiscrepancy",
    "OutOfDistributionAUROC",
    "ParticipationRatio",
    "SlicedWasserstein",
    "SpannedDimension",
    "Stump",
    "StumpAccuracy",
    "TotalCorrelation",
    "TruncationCurve",
    "affine_gain",
    "auroc",
    "condition_number",
    "effective_sample_size",
    "encoder_decoder_gap",
    "fit_stump",
    "frechet_distance",
    "gaussian_affine_gain",
    "gaussian_frechet_distance",
    "intrinsic_dimension",
    "latent_order",
    "log_evidence",
    "log_mass",
    "manifold_entropy",
    "mmd",
    "participation_ratio",
    "sliced_wasserstein",
    "spanned_dimension",
    "spanned_variances",
    "stump_accuracy",
    "total_correlation",
    "truncation_curve",
]
