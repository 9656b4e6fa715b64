"""Options of architectures do what they say, and every entry has a say in every latent."""

import inspect
from functools import partial

import pytest
import torch
from flow_cases import FIRST, small
from torch.func import jacrev

from lightning_flows.bases import ConditionalNormal, Normal, NormalMixture, VonMises
from lightning_flows.core.support import UNIT
from lightning_flows.flows import (
    MAF,
    NICE,
    AssignmentFlow,
    AutoregressiveSplineFlow,
    CircularSplineFlow,
    ComposedFlow,
    ContinuousFlow,
    Flow,
    FreeFormFlow,
    Glow,
    LatentPriorFlow,
    MixedFlow,
    NeuralSplineFlow,
    PaddedFlow,
    RadialBase,
    RankedFlow,
    RealNVP,
    SurjectiveSplineFlow,
    TruncatedFlow,
)
from lightning_flows.nets import FieldMLP, MLPDecoder, MLPEncoder
from lightning_flows.transforms import (
    ActNorm,
    AffineCoupling,
    Augment,
    Chain,
    LULinear,
    Permutation,
)
from proofs.common import make, near

NETS = {"hidden": (9,), "activation": "tanh"}
LAYERS = {**NETS, "layers": 4, "mixing": "lu", "actnorm": True, "base": NormalMixture}
COUPLINGS = {**LAYERS, "residual": True}
LEVELS = {"hidden": (9,), "steps": 3, "bound": 0.5, "actnorm": False, "base": NormalMixture}
CHANGES = {
    RealNVP: {**COUPLINGS, "bound": 0.5},
    NICE: {**COUPLINGS, "scaling": False},
    NeuralSplineFlow: {**COUPLINGS, "bins": 5, "bound": 2.0},
    MAF: {**LAYERS, "bound": 0.5},
    AutoregressiveSplineFlow: {**LAYERS, "bins": 5, "bound": 2.0},
    CircularSplineFlow: {
        **NETS, "layers": 4, "mixing": "permutation", "bins": 5, "bound": 2.0, "coupling": True,
        "periodic": [0], "support": UNIT, "base": VonMises,
    },
    Glow: {**LEVELS, "activation": "relu", "levels": 2},
    RankedFlow: {**LEVELS, "activation": "relu", "levels": 3},
    AssignmentFlow: {
        "classes": 4, "field": FieldMLP, "horizon": 3.0, "draws": 2, "probes": 1, "steps": 3,
        "tolerance": 1e-2,
    },
    ContinuousFlow: {
        "field": FieldMLP, "base": NormalMixture, "probes": 1, "steps": 3, "tolerance": 1e-2,
    },
    ComposedFlow: {"layers": [small], "base": NormalMixture},
    SurjectiveSplineFlow: {
        **NETS, "widths": (6, 2), "bins": 5, "bound": 2.0, "mixing": "none", "density": small,
        "base": NormalMixture,
    },
    LatentPriorFlow: {
        "latent_features": 2,
        "ambient": partial(RealNVP, layers=3, hidden=(8,)),
        "encoder": small,
        "decoder": small,
        "prior": NormalMixture,
    },
    MixedFlow: {"classes": [2, 0, 2], "flow": NICE, "encoding": "binary", "density": small},
    TruncatedFlow: {"flow": partial(PaddedFlow, latent_features=3), "latent_features": 2},
    PaddedFlow: {"latent_features": 2, "ambient": NICE, "prior": Normal, "seed": 1},
    RadialBase: {"bins": 4, "bound": 3.0},
    FreeFormFlow: {
        "latent_features": 2, "encoder": MLPEncoder, "decoder": MLPDecoder, "prior": Normal,
    },
}  # fmt: skip
SHAPES = {Glow: (1, 4, 4), RankedFlow: 5, SurjectiveSplineFlow: 6, PaddedFlow: 6, TruncatedFlow: 6}
SHAPES |= {
    ContinuousFlow: 3,
    AssignmentFlow: 2,
}  # signs estimate the divergence of one entry exactly
CASES = [
    pytest.param(kind, name, value, id=f"{kind.__name__}-{name}")
    for kind in FIRST
    for name, value in CHANGES[kind].items()
]


@pytest.mark.parametrize(("kind", "name", "value"), CASES)
def test_no_option_does_nothing(kind, name, value):
    (shape,), given = FIRST[kind].args, FIRST[kind].keywords
    build = partial(kind, SHAPES.get(kind, shape), **given)
    if name == "mixing" and "layers" in given:
        build = partial(build, layers=3)  # it stands before layer 2, counted from 0
    if (kind, name) == (CircularSplineFlow, "bound"):
        build = partial(build, periodic=[0])  # it is one of real columns
    if name == "tolerance":
        build = partial(build, steps=None)
    first = make(build, strength=2.0)
    second = make(partial(build, **{name: value}), strength=2.0)
    sizes = [
        {key: tensor.shape for key, tensor in flow.state_dict().items()} for flow in (first, second)
    ]
    if sizes[0] == sizes[1]:
        x = torch.randn(16, *first.event_shape, dtype=torch.float64)
        if first.measure == "counting":
            x = x.abs().round().clamp(max=2)
        scores = [flow.eval().log_prob(x) for flow in (first, second)]
        assert not torch.allclose(*scores), f"{name} changes neither parameters nor densities"


def options_of(kind):
    """Names of all options of a flow, those that it passes on among them."""
    names = set()
    for base in kind.__mro__:
        parameters = inspect.signature(base.__init__).parameters.values()
        names |= {p.name for p in parameters if p.kind is p.KEYWORD_ONLY}
        if all(p.kind is not p.VAR_KEYWORD for p in parameters):
            return names
    raise AssertionError(kind)


@pytest.mark.parametrize("kind", FIRST)
def test_no_option_is_forgotten(kind):
    later = {"context_shape", "early"}  # what `early` says is done when entries are ranked
    assert options_of(kind) - later == {*CHANGES[kind]}


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
