"""Every transform against every proof that applies to it. A new transform is one line here."""

from functools import partial

import pytest
import torch

from lightning_flows.core.errors import ConfigError, ShapeError
from lightning_flows.core.support import Columns, Interval, Torus
from lightning_flows.transforms.base import Inverse
from lightning_flows.transforms.bijections.actnorm import ActNorm
from lightning_flows.transforms.bijections.autoregressive import (
    AffineAutoregressive,
    SplineAutoregressive,
)
from lightning_flows.transforms.bijections.circular import PeriodicShift
from lightning_flows.transforms.bijections.coupling import (
    AdditiveCoupling,
    AffineCoupling,
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
from lightning_flows.transforms.manifolds.fields import LpRadius
from lightning_flows.transforms.manifolds.simplex import SimplexChart
from lightning_flows.transforms.manifolds.sphere import CylinderChart, SphereChart
from lightning_flows.transforms.manifolds.star import StarLike
from lightning_flows.transforms.manifolds.torus import TorusChart
from lightning_flows.transforms.surjections.dequantize import Dequantize
from proofs.common import Build, pairs
from proofs.transform import PROOFS

C = {"context_shape": 3}
H = {"hidden": (16, 16)}
affine = partial(AffineCoupling, **H)
additive = partial(AdditiveCoupling, **H)
spline = partial(SplineCoupling, **H, bins=5, bound=3.0)
maf = partial(AffineAutoregressive, **H)
spline_ar = partial(SplineAutoregressive, **H, bins=5, bound=3.0)
image = (4, 2, 2)
angles = {"support": Torus(3)}
mixed = {"support": Columns([Torus(1), Interval(), Torus(1), Interval(-1.0, 2.0)])}


def standardize(shape, scale=3.0):
    """Fitted: before that it is the identity."""
    transform = Standardize(shape)
    noise = torch.randn(50, *shape, generator=torch.Generator().manual_seed(0))
    transform.fit(0.7 * scale + scale * noise)
    return transform


def ranking(shape, **options):
    """Ranked: before that a vector keeps its order."""
    transform = Ranking(shape, **options)
    transform.rank(torch.randn(shape, generator=torch.Generator().manual_seed(0)))
    return transform


CASES: dict[str, Build] = {
    "ElementwiseAffine (2,)": lambda: ElementwiseAffine(2),
    "ElementwiseAffine (image)": lambda: ElementwiseAffine(image),
    "ElementwiseAffine (conditional)": lambda: ElementwiseAffine(2, **C),
    "LeakyReLU (2,)": lambda: LeakyReLU(2, slope=0.5),
    "LeakyReLU (image)": lambda: LeakyReLU(image),
    "Sigmoid (1,)": lambda: Sigmoid(1),
    "Sigmoid (image)": lambda: Sigmoid(image),
    "Logit (1,)": lambda: Logit(1),
    "Logit (alpha)": lambda: Logit(3, alpha=0.05),
    "Tanh (2,)": lambda: Tanh(2),
    "Softplus (2,)": lambda: Softplus(2),
    "Reshape": lambda: Reshape(image, (2, 8)),
    "Reshape (2,)": lambda: Reshape(2, (1, 2)),
    "PerPosition": lambda: PerPosition(spline(2), (2, 3)),
    "PerPosition (conditional)": lambda: PerPosition(affine(1, **C), 2),
    "Squeeze": lambda: Squeeze((2, 4, 4)),
    "Squeeze (factor 3)": lambda: Squeeze((1, 6, 3), factor=3),
    "Permutation": lambda: Permutation(5),
    "Permutation (other dimension)": lambda: Permutation((2, 3, 2), dim=1),
    "Permutation (order)": lambda: Permutation(image, [2, 0, 3, 1]),
    "Permutation (seed)": lambda: Permutation(6, seed=3),
    "Ranking (5,)": lambda: ranking((5,)),
    "Ranking (image)": lambda: ranking((2, 4, 2), early="low"),
    "LULinear (2,)": lambda: LULinear(2),
    "LULinear (1,)": lambda: LULinear(1),
    "LULinear (image)": lambda: LULinear(image),
    "Orthogonal (2,)": lambda: Orthogonal(2),
    "Orthogonal (image)": lambda: Orthogonal(image, reflections=2),
    "ActNorm (2,)": lambda: ActNorm(2),
    "ActNorm (image)": lambda: ActNorm(image),
    "Standardize (2,)": lambda: standardize((2,)),
    "Standardize (image)": lambda: standardize(image),
    "AffineCoupling (2,)": lambda: affine(2),
    "AffineCoupling (5, swap)": lambda: affine(5, swap=True),
    "AffineCoupling (1,)": lambda: affine(1),
    "AffineCoupling (conditional)": lambda: affine(2, **C, activation="tanh"),
    "AffineCoupling (given context alone)": lambda: affine(2, kept=0, **C),
    "SplineCoupling (most kept)": lambda: spline(4, kept=3, swap=True),
    "AdditiveCoupling (5,)": lambda: additive(5),
    "AdditiveCoupling (conditional, swap)": lambda: additive(3, swap=True, **C),
    "SplineCoupling (2,)": lambda: spline(2),
    "SplineCoupling (5, swap)": lambda: spline(5, swap=True),
    "SplineCoupling (1, conditional)": lambda: spline(1, **C),
    "AffineCoupling (image)": lambda: affine((5, 2, 3), swap=True, activation="silu"),
    "AffineCoupling (pixel of 2 channels)": lambda: affine((2, 1, 1), activation="silu"),
    "AdditiveCoupling (image, conditional)": lambda: additive(image, **C, activation="silu"),
    "SplineCoupling (image)": lambda: spline(image, activation="silu"),
    "AffineAutoregressive (2,)": lambda: maf(2),
    "AffineAutoregressive (5, reverse)": lambda: maf(5, reverse=True),
    "AffineAutoregressive (1,)": lambda: maf(1),
    "AffineAutoregressive (conditional)": lambda: maf(3, **C),
    "SplineAutoregressive (2,)": lambda: spline_ar(2),
    "SplineAutoregressive (4, conditional, reverse)": lambda: spline_ar(4, reverse=True, **C),
    "SplineCoupling (angles, conditional, swap)": lambda: spline(3, **angles, **C, swap=True),
    "SplineCoupling (angles and lines)": lambda: spline(4, **mixed),
    "SplineCoupling (interval)": lambda: spline(2, support=Interval(0.0, 3.0)),
    "SplineAutoregressive (angles)": lambda: spline_ar(3, **angles),
    "SplineAutoregressive (angle and line, reverse)": lambda: spline_ar(
        2, support=Columns([Torus(1), Interval()]), **C, reverse=True
    ),
    "PeriodicShift (2,)": lambda: PeriodicShift(2),
    "PeriodicShift (fixed)": lambda: PeriodicShift(3, shift=[1.0, -4.0, 2.5], learned=False),
    "Permutation (columns)": lambda: Permutation(4, [2, 0, 3, 1], **mixed),
    "ColumnRanges": lambda: ColumnRanges(
        3, periodic={0: (0.0, 360.0)}, bounded={2: (1.0, 3.0)}, alpha=0.05
    ),
    "TorusChart": lambda: TorusChart(4),
    "SphereChart (circle)": lambda: SphereChart(2),
    "SphereChart (5,)": lambda: SphereChart(5),
    "SphereChart (positive)": lambda: SphereChart(4, positive=True),
    "CylinderChart": lambda: CylinderChart(3),
    "SimplexChart (4,)": lambda: SimplexChart(4),
    "Radial (2,)": lambda: Radial(2),
    "Radial (1,)": lambda: Radial(1, bins=3, bound=2.0),
    "Radial (image)": lambda: Radial(image, bins=20),
    "Radial (conditional)": lambda: Radial(3, **C, hidden=(16,)),
    "StarLike": lambda: StarLike(4, partial(LpRadius, p=1.5, level=3.0)),
    "StarLike (cylinder)": lambda: StarLike(3, partial(LpRadius, p=3.0), chart=CylinderChart),
    "StarLike (cusps)": lambda: StarLike(3, partial(LpRadius, p=0.7)),
    "StarLike (simplex)": lambda: StarLike(4, partial(LpRadius, p=1.0, positive=True)),
    "Inverse (coupling)": lambda: Inverse(affine(2)),
    "Inverse (Softplus)": lambda: Inverse(Softplus(1)),
    "Inverse (conditional autoregressive)": lambda: Inverse(maf(3, **C)),
    "Chain": lambda: Chain([affine(2), LULinear(2), spline(2, swap=True)]),
    "Chain (half conditional)": lambda: Chain([affine(2, **C), Permutation(2), maf(2)]),
    "Chain (onto the unit interval)": lambda: Chain([affine(2), Sigmoid(2)]),
    "Chain (of chains)": lambda: Chain([Chain([Logit(2), affine(2)]), Chain([Orthogonal(2)])]),
    "Chain (dequantized)": lambda: Chain(
        [Dequantize(2, 8), Logit(2), standardize((2,), 1.0), affine(2)]
    ),
    "Multiscale": lambda: Multiscale(
        [Chain([Squeeze((1, 4, 4)), ActNorm(image)]), Orthogonal((2, 2, 2))]
    ),
    "Multiscale (vector)": lambda: Multiscale([affine(4), affine(2, swap=True), maf(1)]),
    "Dequantize (1,)": lambda: Dequantize(1, 4),
    "Dequantize (2,)": lambda: Dequantize(2, 3),
    "Dequantize (without levels)": lambda: Dequantize(2, None),
    "Dequantize (image)": lambda: Dequantize((1, 2, 2), 256),
    "Multiscale (conditional)": lambda: Multiscale([affine(4, **C), affine(2)]),
}


@pytest.mark.parametrize(("prove", "build"), pairs(CASES, PROOFS))
def test_transform(prove, build):
    prove(build)


@pytest.mark.parametrize("kept", [-1, 2])
def test_a_coupling_maps_at_least_one_dimension(kept):
    with pytest.raises(ConfigError, match=f"kept is {kept}; accepted are 0 to 1"):
        affine(2, kept=kept)


def test_positions_hold_vectors():
    with pytest.raises(ShapeError, match="PerPosition takes maps of vectors; LULinear maps"):
        PerPosition(LULinear((2, 3)), 4)
