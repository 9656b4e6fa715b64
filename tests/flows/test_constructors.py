"""What stands first in every constructor, and what is refused there."""

from functools import partial

import numpy as np
import pytest
import torch

from lightning_flows import bases, flows, transforms
from lightning_flows.bases import Bernoulli, Density, HalfNormal, Normal, Uniform
from lightning_flows.core.errors import ConfigError, ShapeError
from lightning_flows.core.support import REAL
from lightning_flows.flows import ComposedFlow, Flow, FreeFormFlow, LatentPriorFlow, PaddedFlow
from lightning_flows.nets import MLP, ConvNet
from lightning_flows.transforms import Coupling, FlowLinear, Reshape, Softplus, Transform
from lightning_flows.transforms.bijections.univariate import Affine

# what a constructor needs beside the shape; for images those that take no vectors
OPTIONS = {
    "AffineFunnel": {"latent_features": 2},
    "Augment": {"add": 1},
    "ColumnRanges": {"periodic": {0: (0.0, 360.0)}},
    "ByColumns": {"parts": [Normal(2), Normal(2)]},
    "Autoregressive": {"univariate": Affine()},
    "Coupling": {"univariate": Affine()},
    "Dequantize": {"levels": 4},
    "FlowConv2d": {"out_channels": 2},
    "FlowLinear": {"out_features": 3},
    "InverseOf": {"layer": Softplus},
    "MLPFunnel": {"latent_features": 2},
    "NoisePad": {"padding": (1, 0, 0, 1)},
    "OnEntries": {"entries": [0, 1], "transform": transforms.LULinear(2)},
    "Reshape": {"latent_shape": (2, 2)},
    "Slice": {"keep": 2},
    "SplineFunnel": {"latent_features": 2},
    "Tiles": {"kernel": (2, 2), "stride": (2, 2)},
    "VAELayer": {"latent_shape": 2},
    "VariationalDequantize": {"levels": 4},
    "ComposedFlow": {"layers": [transforms.ActNorm]},
    "MixedFlow": {"classes": [0, 3, 0, 2]},
    "ConvNormal": {"context_shape": (2, 4, 4)},
}
IMAGES = {"ConvFunnel", "FlowConv2d", "Glow", "MaxPool2d", "NoisePad", "Squeeze", "Tiles"}
IMAGES |= {"ConvNormal"}
THREE = {"CylinderChart"}  # takes (3,) alone
# made of parts, or of numbers of categories, whose shapes say theirs
OF_PARTS = {"Argmax", "Chain", "Flow", "Funnel", "Inverse", "Multiscale", "PerPosition"}
ABSTRACT = {"Density", "FieldFlow", "InjectiveFlow", "Parametrized", "Transform"}


def exported():
    for package in (bases, transforms, flows):
        for name in package.__all__:
            value = getattr(package, name)
            if isinstance(value, type) and issubclass(value, Density | Transform):
                yield name, value


VECTORS = [
    pytest.param(name, value, id=name)
    for name, value in exported()
    if name not in IMAGES | OF_PARTS | ABSTRACT | THREE
]


def made(kind, options, shape):
    torch.manual_seed(0)
    return kind(shape, **options)


@pytest.mark.parametrize(("name", "kind"), VECTORS)
def test_a_number_and_a_shape_say_the_same(name, kind):
    options = OPTIONS.get(name, {})
    expected = made(kind, options, 4)
    assert expected.event_shape == (4,)
    for shape in ((4,), [4], torch.Size([4]), np.int64(4), (np.int32(4),)):
        part = made(kind, options, shape)
        assert part.event_shape == (4,)
        assert all(type(n) is int for n in part.event_shape)
        assert part.state_dict().keys() == expected.state_dict().keys()
        for key, value in part.state_dict().items():
            assert torch.equal(value, expected.state_dict()[key])


@pytest.mark.parametrize("name", sorted(IMAGES))
def test_images_are_lists_and_sizes_too(name):
    kind, options = dict(exported())[name], OPTIONS.get(name, {})
    for shape in ((2, 4, 4), [2, 4, 4], torch.Size([2, 4, 4]), tuple(np.array([2, 4, 4]))):
        assert made(kind, options, shape).event_shape == (2, 4, 4)


@pytest.mark.parametrize(
    ("name", "kind"), [p for p in VECTORS if issubclass(p.values[1], Transform | Flow)]
)
def test_what_is_exported_can_be_a_layer(name, kind):
    if issubclass(kind, Flow):
        layer = ComposedFlow(4, layers=[partial(kind, **OPTIONS.get(name, {}))]).transform
    else:
        layer = partial(kind, **OPTIONS.get(name, {}))((4,))
        if layer.domain in (None, REAL) and layer.codomain in (None, REAL):
            flow = ComposedFlow(4, layers=[partial(kind, **OPTIONS.get(name, {}))])
            assert flow.latent_shape == layer.latent_shape
    assert layer.event_shape == (4,)


@pytest.mark.parametrize("shape", [0, -1, (), (2, 0), 2.0, (2.0,), "4"])
def test_refuses_what_is_no_shape(shape):
    with pytest.raises(ShapeError, match="accepted are positive integers"):
        Normal(shape)


@pytest.mark.parametrize(
    ("build", "error", "message"),
    [
        (
            lambda: transforms.AffineAutoregressive((2, 2)),
            ShapeError,
            r"event_shape is \(2, 2\); AffineAutoregressive takes vectors",
        ),
        (
            lambda: transforms.MLPFunnel((4, 2, 2), 2),
            ShapeError,
            r"MLPFunnel takes vectors, \(features,\): put Reshape before it",
        ),
        (
            lambda: FlowLinear((4, 2), 3, positions=(5,)),
            ShapeError,
            "name the positions once",
        ),
        (
            lambda: PaddedFlow(4, prior=HalfNormal),
            ShapeError,
            r"prior HalfNormal scores events of shape \(2,\) in \[0, inf\); accepted are",
        ),
        (lambda: PaddedFlow(4, prior=Bernoulli), ShapeError, "integers in .* accepted are"),
        (lambda: FreeFormFlow(4, prior=Uniform), ShapeError, r"in \[0, 1\]; accepted are"),
        (
            lambda: PaddedFlow(4, prior=lambda _: Normal(3)),
            ShapeError,
            r"prior Normal scores events of shape \(3,\)",
        ),
        (
            lambda: PaddedFlow(4, prior=Normal, context_shape=2),
            ConfigError,
            "prior Normal takes no context_shape",
        ),
        (
            lambda: PaddedFlow(4, ambient=lambda s: Flow(Softplus(s), HalfNormal(s))),
            ShapeError,
            r"ambient gives values in \[0, inf\)",
        ),
        (lambda: LatentPriorFlow(4, prior=HalfNormal), ShapeError, r"base lives on \[0, inf\)"),
        (
            lambda: Coupling(4, Affine(), net=ConvNet),
            ShapeError,
            r"net ConvNet refuses inputs of shape \(2,\)",
        ),
        (
            lambda: Coupling((4, 2, 2), Affine(), net=MLP),
            ShapeError,
            r"net MLP gives \(2, 2, 4\) for inputs of shape \(2, 2, 2\); wanted is \(4, 2, 2\)",
        ),
    ],
)
def test_refuses_what_fits_no_slot(build, error, message):
    with pytest.raises(error, match=message):
        build()


def test_an_image_may_be_flattened_on_the_way():
    layers = [partial(Reshape, latent_shape=(8,)), transforms.SplineAutoregressive]
    assert ComposedFlow((2, 2, 2), layers=layers).latent_shape == (8,)
    assert FlowLinear((4, 2, 3), 2).latent_shape == (2, 2, 3)
