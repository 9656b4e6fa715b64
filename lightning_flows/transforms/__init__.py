"""Maps between data and latent, each with its likelihood contribution."""

from lightning_flows.transforms.base import Inverse, InverseOf, Transform
from lightning_flows.transforms.bijections.actnorm import ActNorm
from lightning_flows.transforms.bijections.autoregressive import (
    AffineAutoregressive,
    Autoregressive,
    SplineAutoregressive,
)
from lightning_flows.transforms.bijections.circular import PeriodicShift
from lightning_flows.transforms.bijections.coupling import (
    AdditiveCoupling,
    AffineCoupling,
    Coupling,
    SplineCoupling,
)
from lightning_flows.transforms.bijections.elementwise import (
    ElementwiseAffine,
    LeakyReLU,
    Logit,
    Sigmoid,
    Softplus,
    Tanh,
)
from lightning_flows.transforms.bijections.linear import LULinear, Orthogonal, Permutation
from lightning_flows.transforms.bijections.radial import Radial
from lightning_flows.transforms.bijections.ranges import ColumnRanges
from lightning_flows.transforms.bijections.ranking import Ranking
from lightning_flows.transforms.bijections.reshape import PerPosition, Reshape, Squeeze
from lightning_flows.transforms.bijections.standardize import Standardize
from lightning_flows.transforms.chain import Chain, Multiscale
from lightning_flows.transforms.manifolds.fields import LearnedField, LpRadius, ScalarField
from lightning_flows.transforms.manifolds.graph import Graph
from lightning_flows.transforms.manifolds.simplex import SimplexChart
from lightning_flows.transforms.manifolds.sphere import CylinderChart, SphereChart
from lightning_flows.transforms.manifolds.star import StarLike
from lightning_flows.transforms.manifolds.torus import TorusChart
from lightning_flows.transforms.surjections.argmax import Argmax
from lightning_flows.transforms.surjections.dequantize import Dequantize, VariationalDequantize
from lightning_flows.transforms.surjections.entries import Abs, OnEntries, ReLU
from lightning_flows.transforms.surjections.flowified import (
    FlowConv2d,
    FlowLinear,
    SplineActivation,
)
from lightning_flows.transforms.surjections.funnels import (
    AffineFunnel,
    ConvFunnel,
    Funnel,
    MLPFunnel,
    SplineFunnel,
)
from lightning_flows.transforms.surjections.pooling import Max, MaxPool2d
from lightning_flows.transforms.surjections.slicing import Augment, Slice
from lightning_flows.transforms.surjections.sorting import Sort, SortedToReal, StochasticPermutation
from lightning_flows.transforms.surjections.tiles import NoisePad, Tiles
from lightning_flows.transforms.surjections.variational import VAELayer

__all__ = [
    "Abs",
    "ActNorm",
    "AdditiveCoupling",
    "AffineAutoregressive",
    "AffineCoupling",
    "AffineFunnel",
    "Argmax",
    "Augment",
    "Autoregressive",
    "Chain",
    "ColumnRanges",
    "ConvFunnel",
    "Coupling",
    "CylinderChart",
    "Dequantize",
    "ElementwiseAffine",
    "FlowConv2d",
    "FlowLinear",
    "Funnel",
    "Graph",
    "Inverse",
    "InverseOf",
    "LULinear",
    "LeakyReLU",
    "LearnedField",
    "Logit",
    "LpRadius",
    "MLPFunnel",
    "Max",
    "MaxPool2d",
    "Multiscale",
    "NoisePad",
    "OnEntries",
    "Orthogonal",
    "PerPosition",
    "PeriodicShift",
    "Permutation",
    "Radial",
    "Ranking",
    "ReLU",
    "Reshape",
    "ScalarField",
    "Sigmoid",
    "SimplexChart",
    "Slice",
    "Softplus",
    "Sort",
    "SortedToReal",
    "SphereChart",
    "SplineActivation",
    "SplineAutoregressive",
    "SplineCoupling",
    "SplineFunnel",
    "Squeeze",
    "Standardize",
    "StarLike",
    "StochasticPermutation",
    "Tanh",
    "Tiles",
    "TorusChart",
    "Transform",
    "VAELayer",
    "VariationalDequantize",
]
