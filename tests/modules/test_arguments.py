"""What a family is given is checked at construction, in one sentence with the remedy."""

from functools import partial

import pytest
import torch
from torch import nn
from torch.optim.lr_scheduler import StepLR

from lightning_flows import (
    MAF,
    NICE,
    DensityModule,
    ExactVolume,
    FreeFormFlow,
    FreeFormModule,
    Glow,
    InjectiveModule,
    NeuralSplineFlow,
    OffDiagonal,
    PaddedFlow,
    RankedFlow,
    RealNVP,
    RectangularModule,
    SurjectiveModule,
    TwoStepModule,
)
from lightning_flows.bases import ConditionalNormal, Normal
from lightning_flows.core.errors import ConfigError, ShapeError
from lightning_flows.nets import MLPDecoder, MLPEncoder

SMALL = partial(RealNVP, layers=2, hidden=(8,))
FREE = partial(FreeFormFlow, encoder=MLPEncoder, decoder=MLPDecoder, prior=SMALL)
PADDED = partial(PaddedFlow, latent_features=1, ambient=SMALL, prior=SMALL)
ON_DATA = (DensityModule, SurjectiveModule)
ON_MANIFOLDS = (RectangularModule, FreeFormModule, TwoStepModule, InjectiveModule)


@pytest.mark.parametrize("family", ON_DATA)
@pytest.mark.parametrize(
    ("flow", "remedy"), [(PADDED, "RectangularModule"), (FREE, "FreeFormModule")]
)
def test_a_flow_on_a_manifold_is_no_density_of_data(family, flow, remedy):
    with pytest.raises(ConfigError, match=f"{family.__name__} trains .*: use {remedy}"):
        family(flow, 2)


@pytest.mark.parametrize("family", ON_MANIFOLDS)
def test_a_density_of_data_is_on_no_manifold(family):
    with pytest.raises(ConfigError, match="and RealNVP is one on all of data space: use DensityM"):
        family(SMALL, 2)


def test_a_flow_whose_layers_all_preserve_volume_is_warned_of_with_remedies():
    nice = partial(NICE, layers=2, hidden=(8,), scaling=False)
    with pytest.warns(UserWarning, match=r"Every layer of NICE preserves volume .* RadialBase as"):
        DensityModule(nice, 2)
    DensityModule(partial(nice, scaling=True), 2)  # warnings are errors here
    DensityModule(partial(nice, base=partial(Normal, learned=True)), 2)
    DensityModule(Normal, 2)  # which has nothing to train


def test_an_encoder_that_learns_is_no_left_inverse():
    with pytest.raises(ConfigError, match=r"project undoes their embed.*use FreeFormModule"):
        RectangularModule(FREE, 2)


def test_the_gradient_of_free_form_flows_is_not_for_padded_ones():
    with pytest.raises(ConfigError, match="biased for a PaddedFlow: use RectangularModule"):
        FreeFormModule(PADDED, 2)
    FreeFormModule(PADDED, 2, volume=ExactVolume())


def linear(shape):
    return nn.Linear(2, 2)


@pytest.mark.parametrize("family", [*ON_DATA, *ON_MANIFOLDS])
@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"flow": RealNVP(2)}, "flow is a RealNVP that is made already; give what makes it"),
        ({"flow": "RealNVP"}, "flow is 'RealNVP'; give what makes it, such as RealNVP"),
        ({"flow": linear}, "flow makes a Linear, which is no Density; give what makes one, such"),
        ({"optimizer": torch.optim.SGD([torch.zeros(1)])}, "optimizer is a SGD that is made alr"),
        ({"optimizer": 1e-3}, "optimizer is 0.001; give what makes it, such as torch.optim.Adam"),
        (
            {"scheduler": StepLR(torch.optim.SGD([torch.zeros(1)]), 1)},
            "scheduler is a StepLR that is made already",
        ),
    ],
)
def test_factories_are_given_not_what_they_make(family, options, message):
    flow = SMALL if family in ON_DATA else FREE
    with pytest.raises(ConfigError, match=message):
        family(**{"flow": flow, "event_shape": 2, **options})


def unconditional(shape):
    return SMALL(shape)


def deaf(shape, context_shape=None):
    return SMALL(shape)


@pytest.mark.parametrize("family", ON_DATA)
def test_a_flow_that_takes_no_context_is_refused_where_there_is_some(family):
    with pytest.raises(ConfigError, match="make it accept the argument context_shape"):
        family(unconditional, 2, context_shape=3)
    with pytest.raises(ShapeError, match=r"context_shape None; the model has \(3,\)"):
        family(deaf, 2, context_shape=3)


@pytest.mark.parametrize("family", [RectangularModule, FreeFormModule, InjectiveModule])
@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"volume": ExactVolume}, r"volume is .*; give an object such as ExactVolume\(\)"),
        ({"volume": "exact"}, "volume is 'exact'; give an object"),
        ({"penalties": OffDiagonal(1.0)}, r"penalties is .*; give a list such as \[Tikhonov"),
        ({"penalties": [OffDiagonal]}, "a penalty is .*; give an object such as Tik"),
    ],
)
def test_volumes_and_penalties_are_objects(family, options, message):
    with pytest.raises(ConfigError, match=message):
        family(PADDED if family is RectangularModule else FREE, 2, **options)


CONDITIONAL = {
    "realnvp": (SMALL, 2),
    "nice": (partial(NICE, layers=2, hidden=(8,)), 2),
    "maf": (partial(MAF, layers=1, hidden=(8,)), 2),
    "spline": (partial(NeuralSplineFlow, layers=1, hidden=(8,)), 2),
    "ranked": (partial(RankedFlow, steps=1, hidden=(8,)), 2),
    "glow": (partial(Glow, levels=1, steps=1, hidden=(4,)), (1, 2, 2)),
    "padded": (PADDED, 2),
    "free": (FREE, 2),
}


@pytest.mark.parametrize("rows", [1, 3, 5])
@pytest.mark.parametrize("name", CONDITIONAL)
def test_as_many_rows_of_context_as_of_data(name, rows):
    make, shape = CONDITIONAL[name]
    family = DensityModule if name not in ("padded", "free") else TwoStepModule
    model = family(make, shape, context_shape=3)
    x, context = torch.rand(4, *model.event_shape), torch.randn(rows, 3)
    message = f"context has {rows} rows for 4 points"
    z = model.encode(x, torch.randn(4, 3))
    calls = [model.log_prob, model.encode, model.flow.log_prob, model.flow.encode]
    for call in calls:
        with pytest.raises(ShapeError, match=message):
            call(x, context)
    for call in (model.decode, model.flow.decode):
        with pytest.raises(ShapeError, match=message):
            call(z, context)
    with pytest.raises(ShapeError, match=message):
        model.unpack((x, context))
    with pytest.raises(ShapeError, match=r"context has shape \(4, 2\)"):
        model.unpack((x, torch.zeros(4, 2)))
    assert model.sample(2, context).shape == (rows, 2, *model.event_shape)


@pytest.mark.parametrize("rows", [1, 5])
def test_a_conditional_base_counts_the_rows_of_context(rows):
    density = ConditionalNormal(2, context_shape=3)
    with pytest.raises(ShapeError, match=f"context has {rows} rows for 4 points"):
        density.log_prob(torch.zeros(4, 2), torch.zeros(rows, 3))
