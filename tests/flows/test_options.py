"""Options of architectures do what they say, and every entry has a say in every latent."""

from functools import partial

import pytest
import torch
from torch.func import jacrev

from lightning_flows.bases import ConditionalNormal, Normal, NormalMixture
from lightning_flows.flows import (
    MAF,
    NICE,
    AutoregressiveSplineFlow,
    Flow,
    FreeFormFlow,
    Glow,
    LatentPriorFlow,
    MixedFlow,
    NeuralSplineFlow,
    PaddedFlow,
    RankedFlow,
    RealNVP,
    SurjectiveSplineFlow,
)
from lightning_flows.nets import MLPDecoder, MLPEncoder
from lightning_flows.transforms import (
    ActNorm,
    AffineCoupling,
    Augment,
    Chain,
    LULinear,
    Permutation,
)
from proofs.common import make, near

SMALL = {"layers": 2, "hidden": (8, 8)}
small = partial(RealNVP, layers=2, hidden=(8,))
NETS = {"hidden": (9,), "activation": "tanh"}
OPTIONS = {
    RealNVP: (6, SMALL, {**NETS, "layers": 3, "residual": True, "bound": 0.5}),
    NICE: (6, SMALL, {**NETS, "layers": 3, "residual": True, "scaling": False}),
    MAF: (6, SMALL, {**NETS, "layers": 3, "bound": 0.5}),
    NeuralSplineFlow: (
        6,
        SMALL,
        {**NETS, "layers": 3, "bins": 5, "bound": 2.0, "residual": True},
    ),
    AutoregressiveSplineFlow: (6, SMALL, {**NETS, "layers": 3, "bins": 5, "bound": 2.0}),
    Glow: (
        (1, 4, 4),
        {"steps": 2, "hidden": (8,)},
        {**NETS, "activation": "relu", "levels": 1, "steps": 3, "bound": 0.5, "actnorm": False},
    ),
    RankedFlow: (
        (5,),
        {"steps": 2, "hidden": (8,)},
        {**NETS, "activation": "relu", "levels": 3, "steps": 3, "bound": 0.5, "actnorm": False},
    ),
    SurjectiveSplineFlow: (
        6,
        {"hidden": (8,)},
        {**NETS, "widths": (6, 2), "bins": 5, "bound": 2.0, "mixing": "none", "density": small},
    ),
    LatentPriorFlow: (
        6,
        {"ambient": small},
        {
            "latent_features": 3,
            "ambient": partial(RealNVP, layers=3, hidden=(8,)),
            "encoder": small,
            "decoder": small,
            "prior": NormalMixture,
        },
    ),
    MixedFlow: (
        3,
        {"classes": [0, 3, 0], "flow": small},
        {"classes": [2, 0, 2], "flow": NICE, "encoding": "binary", "density": small},
    ),
    PaddedFlow: (
        6,
        {"ambient": small, "prior": small},
        {"latent_features": 2, "ambient": NICE, "prior": Normal, "seed": 1},
    ),
    FreeFormFlow: (
        6,
        {"prior": small},
        {"latent_features": 2, "encoder": MLPEncoder, "decoder": MLPDecoder, "prior": Normal},
    ),
}
for kind in (RealNVP, MAF, NeuralSplineFlow, AutoregressiveSplineFlow):
    OPTIONS[kind][2].update({"mixing": "lu", "actnorm": True})
OPTIONS[NICE][2].update({"mixing": "lu", "actnorm": True})
for kind in (RealNVP, NICE, MAF, NeuralSplineFlow, Glow, RankedFlow, SurjectiveSplineFlow):
    OPTIONS[kind][2]["base"] = NormalMixture
CASES = [
    pytest.param(kind, *rest, name, value, id=f"{kind.__name__}-{name}")
    for kind, (*rest, options) in OPTIONS.items()
    for name, value in options.items()
]


@pytest.mark.parametrize(("kind", "shape", "given", "name", "value"), CASES)
def test_no_option_does_nothing(kind, shape, given, name, value):
    if name == "mixing" and "layers" in given:
        given = {**given, "layers": 3}  # it stands before layer 2, counted from 0
    first = make(lambda: kind(shape, **given), strength=2.0)
    second = make(lambda: kind(shape, **{**given, name: value}), strength=2.0)
    sizes = [
        {key: tensor.shape for key, tensor in flow.state_dict().items()} for flow in (first, second)
    ]
    if sizes[0] == sizes[1]:
        x = torch.randn(16, *first.event_shape, dtype=torch.float64)
        scores = [flow.eval().log_prob(x) for flow in (first, second)]
        assert not torch.allclose(*scores), f"{name} changes neither parameters nor densities"


@pytest.mark.parametrize(
    "build",
    [
        lambda: RealNVP(5, layers=4, hidden=(16,), activation="tanh"),
        lambda: NICE(5, layers=4, hidden=(16,), activation="tanh"),
        lambda: MAF(5, layers=2, hidden=(16,), activation="tanh"),
        lambda: NeuralSplineFlow(5, layers=4, hidden=(16,), activation="tanh"),
        lambda: AutoregressiveSplineFlow(5, layers=2, hidden=(16,)),
        lambda: SurjectiveSplineFlow(5, widths=(5, 5, 5, 4), hidden=(16,), activation="tanh"),
        lambda: Glow((1, 4, 4), levels=1, steps=2, hidden=(16,)),
        lambda: RankedFlow(6, levels=2, steps=3, hidden=(16,)),
    ],
)
def test_every_latent_depends_on_every_entry(build):
    """Halves and directions take turns, and the middle one of an odd number belongs to one half."""
    flow = make(build, strength=1.0)
    x = 0.3 * torch.randn(1, *flow.event_shape, dtype=torch.float64)
    j = jacrev(lambda v: flow.encode(v).flatten())(x).flatten(1)
    if isinstance(flow, RankedFlow):
        j = j[3:]  # of the last level; the others have left after three couplings of their own
    assert (j != 0).all(), (j != 0).int()


def kinds(flow, kind):
    return [part for part in flow.modules() if isinstance(part, kind)]


def test_what_stands_between_layers():
    """Before layers 2, 4 and 6 a mixing, each permutation another one; an ActNorm before each."""
    plain = RealNVP(6, layers=7, hidden=())
    assert len(kinds(plain, Permutation)) == 1  # every second entry first
    assert kinds(plain, Permutation)[0].order.tolist() == [0, 2, 4, 1, 3, 5]
    assert not kinds(plain, ActNorm)
    mixed = RealNVP(6, layers=7, hidden=(), mixing="permutation", actnorm=True)
    names = [type(part).__name__ for part in mixed.transform.transforms]
    pair = ["ActNorm", "AffineCoupling"]
    assert names == ["Permutation", *(2 * pair + ["Permutation"]) * 3, *pair]
    orders = {tuple(part.order.tolist()) for part in kinds(mixed, Permutation)}
    assert len(orders) == 4
    assert [part.swap for part in kinds(mixed, AffineCoupling)] == [False, True] * 3 + [False]
    assert len(kinds(RealNVP(6, layers=7, hidden=(), mixing="lu"), LULinear)) == 3
    assert not kinds(MAF(6, layers=3), Permutation)
    assert [part.reverse for part in MAF(6, layers=3).transform.transforms] == [False, True, False]


@pytest.mark.parametrize(
    "build",
    [
        lambda: RealNVP(3, layers=2, hidden=(8,), base=small),
        lambda: Flow(AffineCoupling(2, context_shape=3), ConditionalNormal(2, 3)),
        lambda: SurjectiveSplineFlow(4, hidden=(8,)),
        lambda: Glow((1, 4, 4), steps=1, hidden=(8,)),
    ],
)
def test_draws_come_with_their_own_scores(build):
    flow = make(build)
    context = None
    if flow.context_shape is not None:
        context = torch.randn(32, *flow.context_shape, dtype=torch.float64)
    x, scores = flow.draw_and_score(32, context)
    near(scores, flow.log_prob(x, context), 1e-8)


def test_a_bound_anywhere_makes_a_bound():
    bound = Flow(Augment(2, 1))
    assert RealNVP(2).exact
    assert not bound.exact
    assert not Flow(AffineCoupling(2), bound).exact
    assert not Flow(Chain([AffineCoupling(2), Augment(2, 1)])).exact
    assert not PaddedFlow(4, prior=lambda d: Flow(Augment(d, 1))).exact
    assert PaddedFlow(4).exact
