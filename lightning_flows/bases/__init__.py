"""Densities: of the latent variable, and of what a layer drops or adds."""

from lightning_flows.bases.base import Density
from lightning_flows.bases.conditional import ConditionalNormal, ConvNormal, DensityFactory
from lightning_flows.bases.mixture import NormalMixture
from lightning_flows.bases.normal import Normal
from lightning_flows.bases.uniform import Uniform

__all__ = [
    "ConditionalNormal",
    "ConvNormal",
    "Density",
    "DensityFactory",
    "Normal",
    "NormalMixture",
    "Uniform",
]
