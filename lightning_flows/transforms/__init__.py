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
    InverseOf,
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
from lightning_flows.transforms.flowified import FlowConv2d, FlowLinear, SplineActivation
from lightning_flows.transforms.funnels import (
    AffineFunnel,
    ConvFunnel,
    Funnel,
    MLPFunnel,
    SplineFunnel,
)
from lightning_flows.transforms.linear import LULinear, Orthogonal, Permutation
from lightning_flows.transforms.networks import flowify
from lightning_flows.transforms.pooling import Max, MaxPool2d
from lightning_flows.transforms.ranking import Ranking, entry_contributions
from lightning_flows.transforms.reshape import PerPosition, Reshape, Squeeze
from lightning_flows.transforms.slicing import Augment, Slice
from lightning_flows.transforms.sorting import Sort, SortedToReal, StochasticPermutation
from lightning_flows.transforms.spline import RationalQuadratic
from lightning_flows.transforms.standardise import Standardise
from lightning_flows.transforms.surjections import Abs, OnEntries, ReLU
from lightning_flows.transforms.tiles import NoisePad, Tiles
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
    "AffineFunnel",
    "Argmax",
    "Augment",
    "Autoregressive",
    "Chain",
    "ConvFunnel",
    "Coupling",
    "Dequantise",
    "ElementwiseAffine",
    "FlowConv2d",
    "FlowLinear",
    "Funnel",
    "Inverse",
    "InverseOf",
    "LULinear",
    "LeakyReLU",
    "Logit",
    "MLPFunnel",
    "Max",
    "MaxPool2d",
    "Multiscale",
    "NoisePad",
    "OnEntries",
    "Orthogonal",
    "PerPosition",
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
    "SplineActivation",
    "SplineAutoregressive",
    "SplineCoupling",
    "SplineFunnel",
    "Squeeze",
    "Standardise",
    "StochasticPermutation",
    "Support",
    "Tanh",
    "Tiles",
    "Transform",
    "Univariate",
    "VAELayer",
    "VariationalDequantise",
    "entry_contributions",
    "flowify",
]
