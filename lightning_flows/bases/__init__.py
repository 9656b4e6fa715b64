"""Densities: of the latent variable, and of what a layer drops or adds."""

from lightning_flows.bases.base import Density
from lightning_flows.bases.categorical import Bernoulli, Categorical
from lightning_flows.bases.conditional import ConditionalNormal, ConvNormal, Parametrised
from lightning_flows.bases.given import DensityFactory, DensityGiven
from lightning_flows.bases.mixture import NormalMixture
from lightning_flows.bases.noise import Placed, Reproducible, Resampled
from lightning_flows.bases.normal import Normal
from lightning_flows.bases.positive import HalfNormal, ZeroInflated
from lightning_flows.bases.support import POSITIVE, REAL, RECTIFIED, SORTED, UNIT, Support
from lightning_flows.bases.uniform import Uniform

__all__ = [
    "POSITIVE",
    "REAL",
    "RECTIFIED",
    "SORTED",
    "UNIT",
    "Bernoulli",
    "Categorical",
    "ConditionalNormal",
    "ConvNormal",
    "Density",
    "DensityFactory",
    "DensityGiven",
    "HalfNormal",
    "Normal",
    "NormalMixture",
    "Parametrised",
    "Placed",
    "Reproducible",
    "Resampled",
    "Support",
    "Uniform",
    "ZeroInflated",
]
