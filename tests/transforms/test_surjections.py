"""Transforms that are no bijections against every proof that applies to them."""

import math
from functools import partial

import pytest
import torch

from lightning_flows.bases import (
    Bernoulli,
    Categorical,
    ConditionalNormal,
    HalfNormal,
    Normal,
    Uniform,
)
from lightning_flows.flows import RealNVP
from lightning_flows.transforms import (
    Abs,
    AffineCoupling,
    Argmax,
    Augment,
    Chain,
    Dequantize,
    Inverse,
    Logit,
    LULinear,
    Max,
    MaxPool2d,
    OnEntries,
    Orthogonal,
    PerPosition,
    ReLU,
    Reshape,
    Slice,
    Softplus,
    Sort,
    SortedToReal,
    StochasticPermutation,
    VAELayer,
    VariationalDequantize,
)
from proofs.common import Build, pairs
from proofs.transform import PROOFS

C = {"context_shape": 3}
H = {"hidden": (8,)}
flow = partial(RealNVP, layers=2, **H)
affine = partial(AffineCoupling, **H)
sign = partial(Bernoulli, **H)
place = partial(Categorical, **H)
gentle = partial(ConditionalNormal, hidden=(8,), activation="tanh")
image = (2, 2, 4)


def wide_gap(*shape):
    """Twice as wide as a normal: what draws from it are weighed by then has a variance."""
    density = HalfNormal(shape)
    torch.nn.init.constant_(density.net.constant, math.log(2))
    return density


def signed_entry():
    part = Abs(1, density=sign, context_shape=2)
    return OnEntries(3, [1], Chain([part, Inverse(Softplus(1)), affine(1)]))


CASES: dict[str, Build] = {
    "Slice (2 to 1)": lambda: Slice(2, 1),
    "Slice (4 to 3, normal)": lambda: Slice(4, 3, density=partial(Normal, learned=True)),
    "Slice (4 to 2, flow)": lambda: Slice(4, 2, density=flow),
    "Slice (instance, unit interval)": lambda: Slice(2, 1, density=Uniform(1)),
    "Slice (image)": lambda: Slice(image, 3, dim=2),
    "Slice (image, conditional)": lambda: Slice(image, 1, **C),
    "Augment (1 to 2)": lambda: Augment(1, 1),
    "Augment (2 to 4, flow)": lambda: Augment(2, 2, density=flow),
    "Augment (unit interval)": lambda: Augment(2, 1, density=Uniform),
    "Augment (image)": lambda: Augment(image, 3, dim=1),
    "Augment (conditional)": lambda: Augment(1, 2, **C),
    "Abs (2,)": lambda: Abs(2),
    "Abs (sign)": lambda: Abs(2, density=sign),
    "Abs (sign, conditional)": lambda: Abs((1, 2), density=sign, **C),
    "Inverse (Abs)": lambda: Inverse(Abs(2)),
    "Inverse (Abs with sign)": lambda: Inverse(Abs(3, density=sign)),
    "OnEntries (sign)": signed_entry,
    "OnEntries (bijection, conditional)": lambda: OnEntries(
        3, [2, 0], affine(2, context_shape=4), **C
    ),
    "OnEntries (image)": lambda: OnEntries(image, [1], LULinear((1, 2, 4))),
    "OnEntries (image, integers)": lambda: OnEntries(image, [1], Dequantize((1, 2, 4), 4)),
    "Augment (per position)": lambda: PerPosition(Chain([Augment(1, 1), affine(2)]), 2),
    "OnEntries (all)": lambda: OnEntries(2, [1, 0], affine(2)),
    "OnEntries (categories)": lambda: OnEntries(
        2, [0], Argmax([3], density=gentle, context_shape=1)
    ),
    "OnEntries (categories, binary, conditional)": lambda: OnEntries(
        3, [2, 0], Argmax([2, 3], encoding="binary", density=gentle, context_shape=4), **C
    ),
    "Argmax (one column)": lambda: Argmax([3], density=gentle),
    "Argmax (unlike columns)": lambda: Argmax([2, 3], density=partial(Normal, learned=True)),
    "Argmax (conditional)": lambda: Argmax([2, 2], density=gentle, **C),
    "Argmax (binary)": lambda: Argmax([4, 3, 5], encoding="binary", density=Normal),
    "Argmax (binary, one column)": lambda: Argmax([3], encoding="binary", density=Normal),
    "Inverse (Argmax)": lambda: Inverse(Argmax([3], density=Normal)),
    "ReLU (2,)": lambda: ReLU(2),
    "ReLU (image, conditional)": lambda: ReLU((1, 2, 2), density=partial(HalfNormal, **H), **C),
    "Inverse (ReLU)": lambda: Inverse(ReLU(2)),
    "Max (2,)": lambda: Max(2),
    "Max (place)": lambda: Max(3, place_density=place),
    "Max (middle dimension, conditional)": lambda: Max((2, 3, 2), dim=1, place_density=place, **C),
    "Inverse (Max)": lambda: Inverse(Max(2, place_density=place)),
    "Inverse (Max, image)": lambda: Inverse(Max((2, 1, 3))),
    "MaxPool2d": lambda: MaxPool2d((2, 2, 2), place_density=place),
    "MaxPool2d (one window)": lambda: MaxPool2d((1, 2, 2), place_density=place),
    "MaxPool2d (factor 3)": lambda: MaxPool2d((2, 3, 6), 3),
    "Inverse (Max, small image)": lambda: Inverse(
        Max((2, 1, 2), place_density=place, density=wide_gap(1, 1, 2))
    ),
    "Inverse (MaxPool2d)": lambda: Inverse(MaxPool2d((1, 2, 4))),
    "Inverse (MaxPool2d, one window)": lambda: Inverse(
        MaxPool2d((1, 2, 2), density=wide_gap(1, 3, 1, 1))
    ),
    "Sort (2,)": lambda: Sort(2),
    "Sort (3,)": lambda: Sort(3),
    "Sort (points)": lambda: Sort((2, 2)),
    "Inverse (Sort)": lambda: Inverse(Sort((2, 2))),
    "SortedToReal (1,)": lambda: SortedToReal(1),
    "SortedToReal (3,)": lambda: SortedToReal(3),
    "SortedToReal (points)": lambda: SortedToReal((2, 2)),
    "StochasticPermutation (3,)": lambda: StochasticPermutation(3),
    "StochasticPermutation (points)": lambda: StochasticPermutation((3, 2, 1)),
    "Dequantize (rounding)": lambda: Inverse(Dequantize(2, 3)),
    "VariationalDequantize (1,)": lambda: VariationalDequantize(1, 4, density=gentle),
    "VariationalDequantize (flow)": lambda: VariationalDequantize((1, 2), 3, density=Normal),
    "VariationalDequantize (conditional)": lambda: VariationalDequantize(2, 3, density=flow, **C),
    "VariationalDequantize (rounding)": lambda: Inverse(
        VariationalDequantize(2, 3, density=gentle)
    ),
    "VAELayer (2 to 1)": lambda: VAELayer(2, 1),
    "VAELayer (image, conditional)": lambda: VAELayer((1, 2, 2), (1, 2), **C),
    "VAELayer (2 to 1, flows)": lambda: VAELayer(2, 1, encoder=flow, decoder=flow),
    "VAELayer (image, flows)": lambda: VAELayer((1, 1, 2), (2, 1), encoder=flow, decoder=flow),
    "VAELayer (flows)": lambda: VAELayer(6, 3, encoder=flow, decoder=flow),
    "Inverse (VAELayer)": lambda: Inverse(VAELayer(1, 2)),
    "Chain (sorted)": lambda: Chain([Sort(3), SortedToReal(3), affine(3)]),
    "Chain (augmented, sliced)": lambda: Chain(
        [Augment(2, 1), Orthogonal(3), affine(3), Slice(3, 2)]
    ),
    "Chain (shuffled)": lambda: Chain(
        [StochasticPermutation((2, 2)), Reshape((2, 2), 4), Orthogonal(4), affine(4)]
    ),
    "Chain (variational)": lambda: Chain(
        [VariationalDequantize(2, 3), Logit(2), affine(2), VAELayer(2, 1)]
    ),
}


@pytest.mark.parametrize(("prove", "build"), pairs(CASES, PROOFS))
def test_transform(prove, build):
    prove(build)
