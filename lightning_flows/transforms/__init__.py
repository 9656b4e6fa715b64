"""Maps between data and latent, each with its likelihood contribution."""

from lightning_flows.transforms.actnorm import ActNorm
from lightning_flows.transforms.argmax import Argmax
from lightning_flows.transforms.autoregressive import (
    AffineAutoregressive,
    Autoregressive,
    SplineAutoregressive,
)
from lightning_flows.transforms.base import (
    POSITIVE,
    REAL,
    RECTIFIED,
    SORTED,
    UNIT,
    Inverse,
    Support,
    Transform,
)
from lightning_flows.transforms.chain import Chain, Multiscale
from lightning_flows.transforms.coupling import (
    AdditiveCoupling,
    AffineCoupling,
    Coupling,
    SplineCoupling,
)
from lightning_flows.transforms.dequantise import Dequantise, VariationalDequantise
from lightning_flows.transforms.elementwise import (
    ElementwiseAffine,
    LeakyReLU,
    Logit,
    Sigmoid,
    Softplus,
    Tanh,
)
from lightning_flows.transforms.linear import LULinear, Orthogonal, Permutation
from lightning_flows.transforms.pooling import Max, MaxPool2d
from lightning_flows.transforms.ranking import Ranking, entry_contributions
from lightning_flows.transforms.reshape import Reshape, Squeeze
from lightning_flows.transforms.slicing import Augment, Slice
from lightning_flows.transforms.sorting import Sort, SortedToReal, StochasticPermutation
from lightning_flows.transforms.spline import RationalQuadratic
from lightning_flows.transforms.standardise import Standardise
from lightning_flows.transforms.surjections import Abs, OnEntries, ReLU
from lightning_flows.transforms.univariate import Additive, Affine, Univariate
from lightning_flows.transforms.variational import VAELayer

__all__ = [
    "POSITIVE",
    "REAL",
    "RECTIFIED",
    "SORTED",
    "UNIT",
    "Abs",
    "ActNorm",
    "Additive",
    "AdditiveCoupling",
    "Affine",
    "AffineAutoregressive",
    "AffineCoupling",
    "Argmax",
    "Augment",
    "Autoregressive",
    "Chain",
    "Coupling",
    "Dequantise",
    "ElementwiseAffine",
    "Inverse",
    "LULinear",
    "LeakyReLU",
    "Logit",
    "Max",
    "MaxPool2d",
    "Multiscale",
    "OnEntries",
    "Orthogonal",
    "Permutation",
    "Ranking",
    "RationalQuadratic",
    "ReLU",
    "Reshape",
    "Sigmoid",
    "Slice",
    "Softplus",
    "Sort",
    "SortedToReal",
    "SplineAutoregressive",
    "SplineCoupling",
    "Squeeze",
    "Standardise",
    "StochasticPermutation",
    "Support",
    "Tanh",
    "Transform",
    "Univariate",
    "VAELayer",
    "VariationalDequantise",
    "entry_contributions",
]
