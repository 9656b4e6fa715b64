"""A first batch reaches every ActNorm, however deep it stands."""

import inspect
from functools import partial

import pytest
import torch
from flow_cases import FIRST
from torch import nn

from lightning_flows import bases, flows, transforms
from lightning_flows.bases import Bernoulli, ByColumns, Density, Normal
from lightning_flows.core.errors import DataError
from lightning_flows.core.starting import Starting, starting
from lightning_flows.core.support import REAL
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
    RankedFlow,
    RealNVP,
    SurjectiveSplineFlow,
    TruncatedFlow,
)
from lightning_flows.nets import VectorField
from lightning_flows.transforms import (
    ActNorm,
    AffineCoupling,
    AffineFunnel,
    Argmax,
    Augment,
    Chain,
    ConvFunnel,
    Coupling,
    FlowConv2d,
    FlowLinear,
    Funnel,
    Inverse,
    InverseOf,
    Max,
    MaxPool2d,
    MLPFunnel,
    Multiscale,
    OnEntries,
    PerPosition,
    Reshape,
    Slice,
    Softplus,
    SplineFunnel,
    VAELayer,
    VariationalDequantize,
)
from lightning_flows.transforms.bijections.univariate import Affine

norm = partial(RealNVP, layers=2, hidden=(4,), actnorm=True)
positive = partial(ComposedFlow, layers=[partial(InverseOf, layer=Softplus), norm])
pictures = partial(ComposedFlow, layers=[ActNorm])


class Coder(nn.Module):
    """A network with a layer that starts from data, as anyone may write one."""

    def __init__(self, event_shape, features, *, back=False):
        super().__init__()
        self.shape = event_shape if back else (features,)
        self.first = ActNorm(features if back else event_shape)
        sizes = torch.Size(event_shape).numel(), features
        self.last = nn.Linear(*(sizes[::-1] if back else sizes))

    def forward(self, x):
        return self.last(self.first(x)[0].flatten(1)).unflatten(1, self.shape)


COMPOSITES = {
    "Chain": lambda: Chain([AffineCoupling(3), ActNorm(3)]),
    "Multiscale": lambda: Multiscale([ActNorm(4), ActNorm(2)]),
    "Inverse": lambda: Inverse(Chain([ActNorm(3), AffineCoupling(3), ActNorm(3)])),
    "InverseOf": lambda: InverseOf(3, ActNorm),
    "OnEntries": lambda: OnEntries(3, [2, 0], ActNorm(2)),
    "PerPosition": lambda: PerPosition(ActNorm(2), (2, 2)),
    "Coupling": lambda: Coupling(4, Affine(), net=lambda n, m: Coder((n,), m)),
    "Slice": lambda: Slice(4, 2, density=norm),
    "Augment": lambda: Augment(2, 2, density=norm),
    "Funnel": lambda: Funnel(ActNorm(2), 2, density=norm),
    "AffineFunnel": lambda: AffineFunnel(4, 2, density=norm),
    "SplineFunnel": lambda: SplineFunnel(4, 2, density=norm),
    "MLPFunnel": lambda: MLPFunnel(4, 2, density=norm),
    "ConvFunnel": lambda: ConvFunnel((1, 4, 4), density=pictures),
    "FlowLinear": lambda: FlowLinear(4, 2, density=norm),
    "FlowConv2d": lambda: FlowConv2d((2, 4, 4), 2, 2, stride=2, density=pictures),
    "VAELayer": lambda: VAELayer(4, 2, encoder=norm, decoder=norm),
    "VariationalDequantize": lambda: VariationalDequantize(2, 4, density=norm),
    "Argmax": lambda: Argmax([3, 2], density=norm),
    "Max": lambda: Max(3, density=positive),
    "MaxPool2d": lambda: MaxPool2d(
        (1, 4, 4),
        density=partial(ComposedFlow, layers=[partial(InverseOf, layer=Softplus), ActNorm]),
    ),
    "Flow": lambda: Flow(ActNorm(3), Flow(ActNorm(3), norm(3))),
    "ByColumns": lambda: ByColumns(4, [norm(2), norm(2)]),
    "ComposedFlow": lambda: ComposedFlow(4, layers=[ActNorm, norm], base=norm),
}


class Field(VectorField):
    """A field with a layer that starts from data, as anyone may write one."""

    def __init__(self, event_shape):
        super().__init__(event_shape)
        self.first = ActNorm(event_shape)

    def forward(self, x, t, context=None):
        return self.first(x)[0] * t.reshape(-1, *[1] * (x.ndim - 1))


NORMS = {"actnorm": True, "base": norm}
PARTS = {
    RealNVP: {"base": norm},
    NICE: {"base": norm},
    MAF: NORMS,
    NeuralSplineFlow: NORMS,
    AutoregressiveSplineFlow: NORMS,
    CircularSplineFlow: {"periodic": [], "base": norm},
    Glow: {"base": norm},
    RankedFlow: {"base": norm},
    AssignmentFlow: {"field": Field},
    ContinuousFlow: {"field": Field, "base": norm},
    ComposedFlow: {"layers": [ActNorm, norm], "base": norm},
    SurjectiveSplineFlow: {"density": norm, "base": norm},
    LatentPriorFlow: dict.fromkeys(("ambient", "encoder", "decoder", "prior"), norm),
    MixedFlow: {"flow": norm, "density": norm},
    PaddedFlow: {"ambient": norm, "prior": norm},
    TruncatedFlow: {"flow": partial(PaddedFlow, ambient=norm, prior=norm)},
    FreeFormFlow: {"encoder": Coder, "decoder": partial(Coder, back=True), "prior": norm},
}
COMPOSITES |= {kind.__name__: partial(FIRST[kind], **parts) for kind, parts in PARTS.items()}
# signs are discrete and what lies below zero has independent entries: no flow stands there
NO_FLOW_INSIDE = {"Abs", "Graph", "ReLU", "StarLike"}


def of_parts(kind: type) -> set[str]:
    """Exported classes that are given transforms, densities or networks, or what makes them."""
    words = ("Transform", "Density", "Factory", "Callable", "Layer", "FunnelOptions")
    names = set()
    for package in (bases, transforms, flows):
        for name in package.__all__:
            value = getattr(package, name)
            if isinstance(value, type) and issubclass(value, kind):
                parameters = inspect.signature(value).parameters.values()
                if any(word in str(p.annotation) for p in parameters for word in words):
                    names.add(name)
    return names


def test_no_composite_is_forgotten():
    found = of_parts(Density) | of_parts(transforms.Transform)
    assert {"Chain", "Slice", "Flow", "PaddedFlow"} <= found
    assert found - {"FieldFlow", "InjectiveFlow"} <= {*COMPOSITES} | NO_FLOW_INSIDE


def data(part, n=64):
    generator = torch.Generator().manual_seed(0)
    x = 5 + 3 * torch.randn(n, *part.event_shape, generator=generator)
    domain = (part.domain if isinstance(part, transforms.Transform) else part.support) or REAL
    if domain != REAL:
        x = torch.randint(0, 2, x.shape, generator=generator).float()
    return x


@pytest.mark.parametrize("build", COMPOSITES.values(), ids=COMPOSITES)
def test_every_actnorm_is_reached(build):
    torch.manual_seed(0)
    part = build()
    layers = [module for module in part.modules() if isinstance(module, ActNorm)]
    assert layers
    assert not any(layer.initialized for layer in layers)
    x = data(part)
    part.initialize(x)
    assert all(layer.initialized for layer in layers)
    before = {name: tensor.clone() for name, tensor in part.state_dict().items()}
    part.initialize(x + 1)
    for name, tensor in part.state_dict().items():
        assert torch.equal(tensor, before[name]), f"{name} was set twice"
    torch.manual_seed(1)
    with torch.no_grad():
        result = part.log_prob(x) if isinstance(part, Density) else part.encode(x)[1]
    assert result.isfinite().all()


def standard(values):
    values = values.transpose(0, 1).flatten(1)
    torch.testing.assert_close(values.mean(1), torch.zeros(len(values)), rtol=0, atol=1e-4)
    torch.testing.assert_close(
        values.std(1, correction=0), torch.ones(len(values)), rtol=0, atol=1e-4
    )


def test_what_each_layer_sees_becomes_standard():
    flow = Flow(ActNorm(3), Flow(AffineCoupling(3), Flow(ActNorm(3))))
    with torch.no_grad():
        for parameter in flow.base.transform.parameters():
            parameter += 0.3
    x = data(flow, 256)
    flow.initialize(x)
    with torch.no_grad():
        first = flow.transform(x)[0]
        second = flow.base.transform(first)[0]
        standard(first)
        assert second.std(0).max() > 1.1, "nothing is left for the layer in the base to do"
        standard(flow.base.base.transform(second)[0])

    backwards = Inverse(Chain([Reshape(4, (2, 2)), ActNorm((2, 2))]))
    x = data(backwards, 256)
    backwards.initialize(x)
    standard(backwards.encode(x)[0].reshape(-1, 2, 2))

    slicing = Slice(4, 2, density=partial(ComposedFlow, layers=[ActNorm]))
    x = data(slicing, 256)
    slicing.initialize(x)
    standard(slicing.dropped.density.transform(x[:, 2:])[0])

    padded = PaddedFlow(4, ambient=norm, prior=partial(ComposedFlow, layers=[ActNorm]))
    padded.initialize(x)
    with torch.no_grad():
        standard(padded.prior.transform(padded.project(x))[0])


def test_a_density_without_such_layers_stays_as_it_is():
    for density in (Normal(3, learned=True), Bernoulli(3)):
        before = {name: tensor.clone() for name, tensor in density.state_dict().items()}
        density.initialize(data(density))
        assert all(torch.equal(density.state_dict()[name], before[name]) for name in before)


@pytest.mark.parametrize(
    ("column", "n"),
    [
        (lambda n: torch.zeros(n), 64),
        (lambda n: torch.full((n,), 1234.567), 64),
        (lambda n: 1234.567 * (1 + 1e-7 * torch.randn(n)), 64),
        (lambda n: 1e-5 * torch.randn(n), 64),
        (lambda n: torch.full((n,), 0.1), 2),
    ],
    ids=["zero", "constant", "rounding", "next to nothing", "batch of two"],
)
def test_a_constant_channel_keeps_its_scale(column, n):
    torch.manual_seed(0)
    flow = RealNVP(3, actnorm=True, hidden=(8,))
    x = torch.randn(n, 3)
    x[:, 1] = column(n)
    with pytest.warns(UserWarning, match=r"keeps scale 1 for channels .*: 2\. Drop them") as said:
        flow.initialize(x)
    # the first permutation takes channel 1 to place 2; each layer says so once
    layers = [part for part in flow.modules() if isinstance(part, ActNorm)]
    assert len([w for w in said if "ActNorm" in str(w.message)]) == len(layers)
    for layer in layers:
        assert layer.log_scale[2] == 0
    assert layers[0].shift[2].item() == pytest.approx(x[:, 1].mean().item(), abs=1e-3)
    other = x.clone()
    other[:, 1] += 1
    assert -flow.log_prob(other).mean() < 100 * (1 if n > 2 else 1e6)


def test_small_numbers_are_no_constants():
    layer = ActNorm(2)
    x = 1e-6 * torch.randn(256, 2, generator=torch.Generator().manual_seed(0))
    layer.initialize(x)
    standard(layer.encode(x)[0])


def test_one_sample_is_no_start():
    with pytest.raises(DataError, match="at least 2 samples"):
        RealNVP(2, base=norm).initialize(torch.randn(1, 2))


def test_starting_ends_with_the_call():
    flow = norm(2)
    with pytest.raises(DataError, match="at least 2"):
        flow.initialize(torch.zeros(1, 2))
    flow.log_prob(torch.randn(4, 2))
    assert not any(part.initialized for part in flow.modules() if isinstance(part, ActNorm))


def test_what_starts_inside_of_a_start_does_not_end_it():
    """As where a layer calls `initialize` of a density that it holds."""
    with Starting():
        norm(2).initialize(torch.randn(4, 2))
        assert starting()
    assert not starting()
