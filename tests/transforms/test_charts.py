"""Charts at poles, boundaries and seams, and the mass of flows behind them."""

import math
from functools import partial

import pytest
import torch
from scipy import stats

from lightning_flows.bases import Normal, VonMises
from lightning_flows.core.errors import ShapeError
from lightning_flows.core.support import Circles, Simplex, Sphere, Torus
from lightning_flows.flows import CircularSplineFlow, ComposedFlow, Flow, NeuralSplineFlow
from lightning_flows.transforms import (
    Chain,
    CylinderChart,
    SimplexChart,
    SphereChart,
    SplineCoupling,
    TorusChart,
)
from proofs.common import draw, make, near
from proofs.supports import UniformOn

F64 = torch.float64
circular = partial(CircularSplineFlow, layers=2, bins=5, hidden=(16,))


@pytest.mark.parametrize("chart", [CylinderChart(3), SphereChart(3), SphereChart(5)])
@pytest.mark.parametrize("dtype", [torch.float32, F64])
def test_poles_have_finite_coordinates_volumes_and_slopes(chart, dtype):
    n = chart.event_shape[0]
    poles = torch.cat([torch.eye(n), -torch.eye(n)]).to(dtype)
    near_poles = poles + 1e-9 * torch.randn(2 * n, n).to(dtype)
    x = torch.cat([poles, near_poles]).requires_grad_()
    z, contribution = chart.encode(x)
    assert chart.codomain.contains(z).all()
    back, again = chart.decode(z)
    near(back, x.detach(), 5e-4 if isinstance(chart, CylinderChart) else 1e-6)
    assert again.isfinite().all()  # angles near π in single precision are 2e-7 apart
    if dtype == F64:
        near(again, contribution, 1e-5)
    (slope,) = torch.autograd.grad((z.sum() + contribution.sum() + back.sum()), x)
    assert contribution.isfinite().all()
    assert slope.isfinite().all()


def test_uniform_on_the_cylinder_is_uniform_on_the_sphere():
    chart = CylinderChart(3)
    uniform = UniformOn(Sphere(2), (3,))
    torch.manual_seed(0)
    z = chart.encode(uniform.draw(20_000))[0]
    assert stats.kstest(z[:, 0], stats.uniform(-1, 2).cdf).pvalue > 1e-3
    assert stats.kstest(z[:, 1], stats.uniform(-math.pi, 2 * math.pi).cdf).pvalue > 1e-3
    assert not chart.encode(uniform.draw(5))[1].any()


def test_a_dirichlet_density_is_that_of_its_log_ratios():
    """With parameters below 1 too, up to a face of the simplex; volumes have the factor √(n+1)."""
    alpha = torch.tensor([0.3, 0.8, 4.0], dtype=F64)
    torch.manual_seed(0)
    dirichlet = torch.distributions.Dirichlet(alpha)
    x = dirichlet.sample((200,))
    z, contribution = SimplexChart(3).encode(x)
    logs = torch.log_softmax(torch.cat([z, torch.zeros(200, 1)], 1), 1)
    of_ratios = alpha.sum().lgamma() - alpha.lgamma().sum() + (alpha * logs).sum(1)
    near(of_ratios + contribution, dirichlet.log_prob(x) - math.log(3) / 2, 1e-9)


def test_zeros_of_a_composition_are_finite():
    for dtype in (torch.float32, F64):
        x = torch.tensor([[1.0, 0.0, 0.0], [0.0, 0.5, 0.5], [0.0, 0.0, 1.0]], dtype=dtype)
        log_p = Flow(SimplexChart(3), Normal(2, scale=30.0)).to(dtype).log_prob(x)
        assert log_p.isfinite().all()


def mass(flow, points, volumes):
    with torch.no_grad():
        return (flow.log_prob(points).exp() * volumes).sum().item()


@pytest.mark.parametrize("coupling", [False, True])
def test_mass_on_a_torus_is_one(coupling):
    flow = make(partial(circular, 2, coupling=coupling), strength=0.7)
    side = -math.pi + 2 * math.pi * (torch.arange(300, dtype=F64) + 0.5) / 300
    points = torch.cartesian_prod(side, side)
    assert mass(flow, points, (2 * math.pi / 300) ** 2) == pytest.approx(1, abs=3e-3)


@pytest.mark.parametrize("chart", [CylinderChart, SphereChart])
def test_mass_on_a_sphere_is_one(chart):
    flow = make(partial(ComposedFlow, 3, layers=[chart, circular]), strength=0.4)
    assert flow.support == Sphere(2)
    across = math.pi * (torch.arange(300, dtype=F64) + 0.5) / 300
    around = 2 * math.pi * (torch.arange(300, dtype=F64) + 0.5) / 300
    theta, phi = torch.cartesian_prod(across, around).T
    ring = theta.sin()[:, None] * torch.stack([phi.cos(), phi.sin()], 1)
    points = torch.cat([ring, theta.cos()[:, None]], 1)
    volumes = theta.sin() * 2 * (math.pi / 300) ** 2
    assert mass(flow, points, volumes) == pytest.approx(1, abs=3e-3)


def test_mass_on_a_simplex_is_one():
    inner = partial(NeuralSplineFlow, layers=2, bins=4, hidden=(16,))
    flow = make(partial(ComposedFlow, 3, layers=[SimplexChart, inner]), strength=0.4)
    assert flow.support == Simplex(2)
    n = 300  # triangles that point up, and those between them
    i, j = torch.cartesian_prod(torch.arange(n), torch.arange(n)).T
    up, down = i + j < n, i + j < n - 1
    corners = torch.cat(
        [torch.stack([i, j], 1)[up] + 1 / 3, torch.stack([i, j], 1)[down] + 2 / 3]
    ).to(F64)
    points = torch.cat([corners / n, 1 - corners.sum(1, keepdim=True) / n], 1)
    assert mass(flow, points, math.sqrt(3) / 2 / n**2) == pytest.approx(1, abs=3e-3)


def test_densities_do_not_see_the_seam():
    """Value and slope of log p where a column passes π, at parameters of any size."""
    for scale in (1.0, 5.0, 30.0):
        flow = make(partial(circular, 2, base=VonMises), torch.float32, strength=scale)
        x = draw(Torus(2), (64, 2), torch.float32)
        for column in range(2):
            ends = []
            for end in (-math.pi, math.pi):
                at = x.clone()
                at[:, column] = end
                at.requires_grad_()
                log_p = flow.log_prob(at)
                (slope,) = torch.autograd.grad(log_p.sum(), at)
                ends.append((log_p.detach(), slope[:, column]))
            (low, left), (high, right) = ends
            steep = 1 + torch.maximum(left.abs(), right.abs())
            assert ((low - high).abs() <= 1e-5 * steep * (1 + scale)).all(), scale
            if scale == 1:  # a spline's curvature has steps at knots; here none lies at the seam
                assert ((left - right).abs() <= 1e-2 * steep).all()


@pytest.mark.parametrize(
    ("build", "sentence"),
    [
        (lambda: TorusChart(3), "takes a cosine and a sine of each angle"),
        (lambda: CylinderChart(4), r"event_shape is \(4,\); CylinderChart takes \(3,\)"),
        (lambda: SphereChart(1), "a sphere takes two entries or more"),
        (lambda: SimplexChart(1), "a simplex takes two entries or more"),
        (
            lambda: Flow(TorusChart(4)),
            r"the transform gives values in the torus of dimension 2: put CircularSplineFlow",
        ),
        (lambda: Chain([CylinderChart(3), SplineCoupling(2)]), "put CircularSplineFlow after it"),
        (
            lambda: CircularSplineFlow(2).log_prob(torch.zeros(1, 3)),
            r"x has shape \(1, 3\); expected is \(batch, 2\)",
        ),
    ],
)
def test_says_what_it_takes(build, sentence):
    with pytest.raises(ShapeError, match=sentence):
        build()


def test_points_beside_a_manifold_have_no_density():
    for flow, x in (
        (ComposedFlow(3, layers=[CylinderChart, circular]), torch.tensor([[0.0, 0.6, 0.9]])),
        (ComposedFlow(4, layers=[TorusChart, circular]), torch.tensor([[1.0, 0.0, 0.8, 0.8]])),
        (circular(2), torch.tensor([[170.0, 20.0]])),
    ):
        assert flow.log_prob(x).tolist() == [-math.inf]
    assert ComposedFlow(4, layers=[TorusChart, circular]).support == Circles(2)
