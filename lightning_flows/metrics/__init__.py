"""Metrics: distances between samples and data, foreign data, health of encoder and decoder.

Each is a function of tensors and a `torchmetrics.Metric` that gathers batches for it, under any
number of processes.
"""

from lightning_flows.metrics.auroc import OutOfDistributionAUROC, auroc
from lightning_flows.metrics.condition import ConditionNumber, condition_number
from lightning_flows.metrics.frechet import (
    FrechetDistance,
    frechet_distance,
    gaussian_frechet_distance,
)
from lightning_flows.metrics.gap import EncoderDecoderGap, encoder_decoder_gap
from lightning_flows.metrics.mmd import MaximumMeanDiscrepancy, mmd
from lightning_flows.metrics.sliced import SlicedWasserstein, sliced_wasserstein
from lightning_flows.metrics.stump import Stump, StumpAccuracy, fit_stump, stump_accuracy

__all__ = [
    "ConditionNumber",
    "EncoderDecoderGap",
    "FrechetDistance",
    "MaximumMeanDiscrepancy",
    "OutOfDistributionAUROC",
    "SlicedWasserstein",
    "Stump",
    "StumpAccuracy",
    "auroc",
    "condition_number",
    "encoder_decoder_gap",
    "fit_stump",
    "frechet_distance",
    "gaussian_frechet_distance",
    "mmd",
    "sliced_wasserstein",
    "stump_accuracy",
]
