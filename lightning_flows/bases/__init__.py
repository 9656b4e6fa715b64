"""Densities: of the latent variable, and of what a layer drops or adds."""

from lightning_flows.bases.base import Density
from lightning_flows.bases.by_columns import ByColumns
from lightning_flows.bases.categorical import Bernoulli, Categorical
from lightning_flows.bases.circular import UniformTorus, VonMises
from lightning_flows.bases.conditional import ConditionalNormal, ConvNormal, Parametrized
from lightning_flows.bases.cone import ConeMeasure
from lightning_flows.bases.given import DensityFactory, DensityGiven
from lightning_flows.bases.mixture import NormalMixture
from lightning_flows.bases.normal import Normal
from lightning_flows.bases.positive import HalfNormal, ZeroInflated
from lightning_flows.bases.uniform import Uniform

__all__ = [
    "Bernoulli",
    "ByColumns",
    "Categorical",
    "ConditionalNormal",
    "ConeMeasure",
    "ConvNormal",
    "Density",
    "DensityFactory",
    "DensityGiven",
    "HalfNormal",
    "Normal",
    "NormalMixture",
    "Parametrized",
    "Uniform",
    "UniformTorus",
    "VonMises",
    "ZeroInflated",
]
