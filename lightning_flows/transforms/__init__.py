"""Maps between data and latent, each with its likelihood contribution."""

from lightning_flows.transforms.actnorm import ActNorm
from lightning_flows.transforms.autoregressive import (
    AffineAutoregressive,
    Autoregressive,
    SplineAutoregressive,
)
from lightning_flows.transforms.base import POSITIVE, REAL, UNIT, Inverse, Support, Transform
from lightning_flows.transforms.chain import Chain, Multiscale
from lightning_flows.transforms.coupling import (
    AdditiveCoupling,
    AffineCoupling,
    Coupling,
    SplineCoupling,
)
from lightning_flows.transforms.dequantise import Dequantise
from lightning_flows.transforms.elementwise import (
    ElementwiseAffine,
    LeakyReLU,
    Logit,
    Sigmoid,
    Softplus,
    Tanh,
)
from lightning_flows.transforms.linear import LULinear, Orthogonal, Permutation
from lightning_flows.transforms.reshape import Reshape, Squeeze
from lightning_flows.transforms.spline import RationalQuadratic
from lightning_flows.transforms.standardise import Standardise
from lightning_flows.transforms.univariate import Additive, Affine, Univariate

__all__ = [
    "POSITIVE",
    "REAL",
    "UNIT",
    "ActNorm",
    "Additive",
    "AdditiveCoupling",
    "Affine",
    "AffineAutoregressive",
    "AffineCoupling",
    "Autoregressive",
    "Chain",
    "Coupling",
    "Dequantise",
    "ElementwiseAffine",
    "Inverse",
    "LULinear",
    "LeakyReLU",
    "Logit",
    "Multiscale",
    "Orthogonal",
    "Permutation",
    "RationalQuadratic",
    "Reshape",
    "Sigmoid",
    "Softplus",
    "SplineAutoregressive",
    "SplineCoupling",
    "Squeeze",
    "Standardise",
    "Support",
    "Tanh",
    "Transform",
    "Univariate",
]
