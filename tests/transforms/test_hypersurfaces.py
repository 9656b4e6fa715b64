"""Hypersurfaces: volumes against autograd's Jacobian, areas, and the mass of flows on them."""

import math
from functools import partial

import pytest
import torch

from lightning_flows.bases import ConeMeasure
from lightning_flows.core.areas import log_lp_area, log_lp_volume
from lightning_flows.core.errors import ConfigError, ShapeError
from lightning_flows.core.hypersurfaces import Hypersurface, LpSphere
from lightning_flows.flows import CircularSplineFlow, ComposedFlow, NeuralSplineFlow
from lightning_flows.transforms import (
    CylinderChart,
    Graph,
    LearnedField,
    LpRadius,
    ScalarField,
    SphereChart,
    StarLike,
)
from proofs.common import make, near

F64 = torch.float64
circular = partial(CircularSplineFlow, layers=2, bins=5, hidden=(16,))
small = partial(NeuralSplineFlow, layers=2, bins=4, hidden=(16,))
learned = partial(LearnedField, hidden=(16, 16))
by_level = partial(LpRadius, level=None)


class Bowl(ScalarField):
    """The height ½ ‖u‖², of a part of one's own."""

    def value(self, x, context=None):
        return x.square().sum(1) / 2


def angles(d, n=3, *, positive=False, seed=0):
    torch.manual_seed(seed)
    if positive:
        return math.pi / 2 - torch.rand(n, d - 1, dtype=F64)
    polar = math.pi / 2 + 1.2 * (2 * torch.rand(n, d - 2, dtype=F64) - 1)
    return torch.cat([polar, math.pi * (2 * torch.rand(n, 1, dtype=F64) - 1)], 1)


def check_volume(t, z, context=None, tolerance=1e-9):
    """Both contributions are -½ log det JᵀJ of the way back."""
    x, contribution = t.decode(z, context)
    back, again = t.encode(x, context)
    near(back, z, 1e-9)
    near(again, contribution, 1e-9)
    for i in range(len(z)):
        row = None if context is None else context[i : i + 1]
        j = torch.autograd.functional.jacobian(
            lambda v, row=row: t.decode(v[None], row)[0][0], z[i]
        )
        near(contribution[i], -torch.linalg.slogdet(j.T @ j).logabsdet / 2, tolerance)


@pytest.mark.parametrize("p", [0.6, 0.8, 1.0, 1.5, 2.0, 3.0])
@pytest.mark.parametrize("d", [3, 10, 30])
def test_volume_of_lp_spheres(p, d):
    check_volume(StarLike(d, partial(LpRadius, p=p, level=1.7)).double(), angles(d))
    part = StarLike(d, partial(LpRadius, p=p, positive=True)).double()
    check_volume(part, angles(d, positive=True))


def test_the_closed_form_of_the_paper():
    """Σ log h_k + ½ log(1 + Σ (∂_k r)² / h_k²), with scale factors of spherical coordinates."""
    t = StarLike(6, learned)
    t = make(lambda: t)
    z = angles(6)
    n = SphereChart(6).decode(z)[0]
    radius = t.radius.value(n).exp()
    jacobian = torch.autograd.functional.jacobian(
        lambda v: t.radius.value(SphereChart(6).decode(v)[0]).exp(), z
    )
    slope = torch.stack([jacobian[i, i] for i in range(3)])
    sines = z[:, :-1].sin().cumprod(1)
    h = radius[:, None] * torch.cat([torch.ones(3, 1, dtype=F64), sines], 1)
    terms = 2 * slope.abs().log() - 2 * h.log()
    volume = h.log().sum(1) + torch.nn.functional.softplus(terms.logsumexp(1)) / 2
    near(t.decode(z)[1], -volume, 1e-10)


def test_volume_of_learned_and_of_conditional_hypersurfaces():
    context = torch.tensor([[0.3], [-1.0], [2.0]], dtype=F64)
    for radius, d in ((learned, 5), (partial(learned, activation="tanh"), 9)):
        check_volume(make(partial(StarLike, d, radius)), angles(d))
        check_volume(make(partial(StarLike, d, radius, context_shape=1)), angles(d), context)
    check_volume(
        StarLike(5, partial(by_level, p=0.8), context_shape=1).double(), angles(5), context
    )
    u = torch.randn(3, 4, dtype=F64)
    check_volume(make(partial(Graph, 5, learned)), u)
    check_volume(make(partial(Graph, 5, learned, context_shape=1)), u, context)
    near(Graph(5, Bowl).decode(u)[1], -0.5 * (1 + u.square().sum(1)).log(), 1e-12)


def test_volume_is_finite_in_many_dimensions():
    for dtype in (torch.float32, F64):
        for p in (0.6, 1.0, 2.0, 3.0):
            t = StarLike(4000, partial(LpRadius, p=p, level=4000.0 ** (1 / p))).to(dtype)
            x = ConeMeasure(4000, p=p, level=4000.0 ** (1 / p)).to(dtype).sample(2)
            for z in (t.encode(x)[0], math.pi * torch.rand(2, 3999, dtype=dtype)):
                z.requires_grad_()
                contribution = t.decode(z)[1]
                assert contribution.isfinite().all()
                assert torch.autograd.grad(contribution.sum(), z)[0].isfinite().all()
    tall = make(partial(LearnedField, 2, hidden=(16,), bound=1e30), torch.float32, strength=1e12)
    assert Graph(3, lambda _: tall).decode(torch.randn(4, 2))[1].isfinite().all()


@pytest.mark.parametrize("build", [partial(StarLike, 4, learned), partial(Graph, 4, learned)])
def test_slopes_of_volumes_are_right(build):
    """Second derivatives of the radius, by differences along a random direction."""
    t = make(build)
    z = angles(4) if isinstance(t, StarLike) else torch.randn(3, 3, dtype=F64)
    parameters = [*t.parameters()]
    grads = torch.autograd.grad(t.decode(z)[1].sum(), parameters)
    for seed in range(4):
        torch.manual_seed(seed)
        directions = [torch.randn_like(q) for q in parameters]
        ends = []
        for sign in (1, -1):
            with torch.no_grad():
                for q, v in zip(parameters, directions, strict=True):
                    q += sign * 1e-5 * v
                ends.append(t.decode(z)[1].sum())
                for q, v in zip(parameters, directions, strict=True):
                    q -= sign * 1e-5 * v
        expected = (ends[0] - ends[1]) / 2e-5
        near(sum((g * v).sum() for g, v in zip(grads, directions, strict=True)), expected, 1e-6)


def test_inference_mode_and_compiled_code_agree():
    t = make(partial(StarLike, 4, learned, context_shape=1))
    z, context = angles(4), torch.randn(3, 1, dtype=F64)
    expected = t.decode(z, context)[1]
    with torch.inference_mode():
        near(t.decode(z, context)[1], expected.detach(), 1e-12)
        near(t.decode(z.clone(), context.clone())[1], expected.detach(), 1e-12)
    torch.compiler.reset()
    compiled = torch.compile(t.decode, fullgraph=True, backend="eager")
    near(compiled(z, context)[1], expected, 1e-10)


AREAS = {
    (3, 0.8): 5.50,
    (3, 1.5): 10.1174,
    (3, 3.0): 15.7277,
    (10, 1.0): 0.0089235,
    (10, 2.0): 25.502,
    (10, 3.0): 284.02,
}


def test_areas():
    for (d, p), area in AREAS.items():
        assert math.exp(log_lp_area(d, p)) == pytest.approx(area, rel=1e-3)
    for d in (2, 3, 10, 100, 1000):
        sphere = math.log(2) + d / 2 * math.log(math.pi) - math.lgamma(d / 2)
        assert log_lp_area(d, 2.0) == pytest.approx(sphere, abs=1e-10)
        simplices = d * math.log(2) + math.log(d) / 2 - math.lgamma(d)
        assert log_lp_area(d, 1.0) == pytest.approx(simplices, abs=1e-10)
    assert math.exp(log_lp_area(3, 50.0)) == pytest.approx(24, rel=0.05)  # nearly a cube


@pytest.mark.parametrize("p", [0.8, 1.0, 1.5, 2.0, 3.0])
def test_areas_are_integrals_of_the_volume(p):
    """In three dimensions over angles, and in five by points of the cone measure."""
    n = 600  # angles in one of eight parts, denser where the volume of cusps is
    v = (torch.arange(n, dtype=F64) + 0.5) / n
    side = math.pi / 2 * (v**4 * (35 - 84 * v + 70 * v**2 - 20 * v**3))
    width = math.pi / 2 * 140 * (v * (1 - v)) ** 3 / n
    z = torch.cartesian_prod(side, side)
    volumes = -StarLike(3, partial(LpRadius, p=p, positive=True)).double().decode(z)[1]
    area = 8 * (volumes.exp() * torch.outer(width, width).flatten()).sum().item()
    assert area == pytest.approx(math.exp(log_lp_area(3, p)), rel=2e-3)

    torch.manual_seed(0)
    cone = ConeMeasure(5, p=p).double()
    weights = (-cone.log_prob(cone.sample(40_000))).exp() / math.exp(log_lp_area(5, p))
    error = weights.std().item() / 200
    assert weights.mean().item() == pytest.approx(1, abs=5 * error + 1e-9)
    if p in (1.0, 2.0):
        near(weights, torch.ones_like(weights), 1e-9)


def test_volume_of_balls():
    assert log_lp_volume(3, 2.0) == pytest.approx(math.log(4 / 3 * math.pi))
    assert log_lp_volume(4, 1.0) == pytest.approx(math.log(2**4 / 24))


def around(n, *, positive=False):
    """Midpoints of angles in three dimensions, and the area of the unit sphere around each."""
    v = (torch.arange(n, dtype=F64) + 0.5) / n
    across, around = (math.pi / 2 * v,) * 2 if positive else (math.pi * v, math.pi * (2 * v - 1))
    z = torch.cartesian_prod(across, around)
    return z, (across[1] - across[0]) * (around[1] - around[0])


@pytest.mark.parametrize(
    ("radius", "context"),
    [
        (partial(LpRadius, p=2.0, level=2.0), None),
        (partial(LpRadius, p=3.0), None),
        (partial(LpRadius, p=1.0, positive=True), None),
        (partial(by_level, p=1.5), 0.7),
        (learned, None),
    ],
)
def test_mass_on_star_like_hypersurfaces_is_one(radius, context):
    given = {} if context is None else {"context_shape": 1}
    flow = make(
        partial(ComposedFlow, 3, layers=[partial(StarLike, radius=radius), circular], **given)
    )
    star = flow.transform.transforms[0]
    z, cell = around(400, positive=star.radius.positive)
    rows = None if context is None else torch.full((len(z), 1), context, dtype=F64)
    with torch.no_grad():
        x, contribution = star.decode(z, rows)
        mass = ((flow.log_prob(x, rows) - contribution).exp() * cell).sum().item()
    assert mass == pytest.approx(1, abs=3e-3)
    assert flow.measure == "Riemannian volume"


def test_mass_on_a_graph_is_one():
    flow = make(partial(ComposedFlow, 2, layers=[partial(Graph, height=learned), small]))
    u = torch.linspace(-20, 20, 8001, dtype=F64)[:, None]
    with torch.no_grad():
        x, contribution = flow.transform.transforms[0].decode(u)
        mass = ((flow.log_prob(x) - contribution).exp() * 40 / 8000).sum().item()
    assert mass == pytest.approx(1, abs=3e-3)


def test_points_of_another_level_have_no_density():
    layers = [partial(StarLike, radius=partial(by_level, p=0.8)), circular]
    flow = ComposedFlow(4, layers=layers, context_shape=1)
    context = torch.tensor([[0.0], [3.0], [-2.0]])
    x, log_q = flow.sample_and_log_prob(50, context)
    rows = context.repeat_interleave(50, 0)
    near(x.flatten(0, 1).abs().pow(0.8).sum(1).log() / 0.8, rows[:, 0], 1e-4)
    near(flow.log_prob(x.flatten(0, 1), rows), log_q.flatten(), 1e-3)
    assert (flow.log_prob(x.flatten(0, 1), rows + 0.01) == -math.inf).all()
    assert flow.log_prob(x[0, :1] * torch.nan, context[:1]).isnan().all()


def test_a_learned_hypersurface_scores_what_lies_on_the_same_ray():
    flow = ComposedFlow(3, layers=[partial(StarLike, radius=learned), circular])
    assert flow.support == Hypersurface(2)
    x = torch.randn(5, 3)
    near(flow.log_prob(x), flow.log_prob(3 * x), 1e-5)
    assert StarLike(3).domain == LpSphere(2, 2.0)


@pytest.mark.parametrize(
    ("build", "error", "sentence"),
    [
        (lambda: LpRadius(3, p=0.0), ConfigError, "p is 0.0; accepted are positive numbers"),
        (lambda: LpRadius(3, level=-1.0), ConfigError, "level is -1.0; accepted are positive"),
        (lambda: LpRadius(3, level=None), ConfigError, "level is None, so that it comes from"),
        (lambda: ConeMeasure(3, level=None), ConfigError, "there is no context_shape"),
        (lambda: LearnedField(3, activation="relu"), ConfigError, "accepted are silu, tanh"),
        (lambda: StarLike(1), ShapeError, "a hypersurface takes two entries or more"),
        (lambda: Graph(1), ShapeError, "a hypersurface takes two entries or more"),
        (lambda: StarLike((2, 2)), ShapeError, r"StarLike takes vectors, \(features,\)"),
        (
            lambda: StarLike(3, partial(LpRadius, positive=True), chart=CylinderChart),
            ShapeError,
            "chart is CylinderChart, which takes data in the unit sphere of dimension 2; direc",
        ),
        (lambda: log_lp_area(3, 0.01), ConfigError, "p is 0.01; accepted are numbers from 0.1"),
        (
            lambda: ConeMeasure(3).sample(2, temperature=0.5),
            ConfigError,
            "temperature is 0.5; a ConeMeasure takes 1 alone",
        ),
    ],
)
def test_says_what_it_takes(build, error, sentence):
    with pytest.raises(error, match=sentence):
        build()
