"""Regression on level sets: marginal likelihoods against quadrature, densities and flows."""

import math
from functools import partial

import numpy as np
import pytest
import torch
from torch.distributions import MultivariateNormal

from lightning_flows import EnergyModule
from lightning_flows.bases import ConeMeasure
from lightning_flows.core.errors import ConfigError
from lightning_flows.flows import CircularSplineFlow, ComposedFlow
from lightning_flows.targets import LpRegression
from lightning_flows.transforms import LpRadius, StarLike
from proofs.common import near

F64 = torch.float64
X = np.random.default_rng(0).normal(size=(30, 3)).tolist()
Y = [1.5 * a - 0.5 * b + c for a, b, c in X]


def test_the_likelihood_is_that_of_the_data():
    target = LpRegression(1.0, noise=0.5, design=X, observed=Y).double()
    x, y = torch.tensor(X, dtype=F64), torch.tensor(Y, dtype=F64)
    x, y = ((part - part.mean(0)) / part.std(0, correction=0) for part in (x, y))
    beta = torch.tensor([[0.3, -0.2, 0.5]], dtype=F64)
    expected = MultivariateNormal(x @ beta[0], 0.25 * torch.eye(30, dtype=F64)).log_prob(y)
    near(target.log_likelihood(beta)[0], expected, 1e-5)
    level = torch.tensor([[0.0]], dtype=F64)  # Σ|β| is 1; the area is 4 √3
    near(target.log_prob(beta, level)[0], expected - math.log(4 * math.sqrt(3)), 1e-5)
    near(LpRegression(1.0).best.abs().sum(), torch.tensor(2.137), 1e-3)


@pytest.mark.parametrize("p", [0.8, 1.0, 1.5, 2.0])
def test_marginal_likelihoods_are_integrals_over_the_level_set(p):
    """By quadrature over angles, and by the weights of the cone measure."""
    target = LpRegression(p, noise=2.0, design=X, observed=Y).double()
    context = torch.tensor([[-0.7], [0.0], [0.5]], dtype=F64)
    value, error = target.evidence(context, draws=60_000)
    assert (error < 0.02).all()
    v = (torch.arange(700, dtype=F64) + 0.5) / 700
    z = torch.cartesian_prod(math.pi * v, math.pi * (2 * v - 1))
    cone = ConeMeasure(3, p=p, level=None, context_shape=1).double()
    torch.manual_seed(0)
    for i in range(3):
        rows = context[i : i + 1].expand(len(z), 1)
        star = StarLike(3, partial(LpRadius, p=p, level=None), context_shape=1).double()
        x, contribution = star.decode(z, rows)
        cell = 2 * (math.pi / 700) ** 2
        found = (target.log_prob(x, rows) - contribution).logsumexp(0) + math.log(cell)
        assert found.item() == pytest.approx(value[i].item(), abs=5 * error[i].item() + 6e-3)
        x, rows = cone.draw(60_000, rows[:1].expand(60_000, 1)), rows[:1].expand(60_000, 1)
        weights = target.log_prob(x, rows) - cone.log_prob(x, rows)
        found = weights.logsumexp(0) - math.log(60_000)
        assert found.item() == pytest.approx(value[i].item(), abs=0.03)
    near(target.log_evidence(context[:1]), value[:1], 1e-12)


@pytest.mark.parametrize(("p", "best", "height"), [(1.0, 1.36, -484.95), (2.0, 0.55, -484.74)])
def test_levels_of_the_diabetes_data_that_are_most_likely(p, best, height):
    levels = torch.linspace(0.85 * best, 1.2 * best, 15)[:, None]
    value, error = LpRegression(p).evidence(levels.log(), draws=12_000)
    place = value.argmax()
    assert levels[place].item() == pytest.approx(best, abs=0.05)
    assert value[place].item() == pytest.approx(height, abs=0.05 + 3 * error[place].item())


@pytest.mark.slow
def test_a_flow_learns_the_path():
    """Weights of a trained flow give the marginal likelihood at all levels."""
    torch.manual_seed(0)
    radius = partial(LpRadius, p=1.0, level=None)
    layers = [
        partial(StarLike, radius=radius),
        partial(CircularSplineFlow, coupling=True, hidden=(32,)),
    ]
    target = partial(LpRegression, p=1.0, noise=2.0, design=X, observed=Y)
    module = EnergyModule(partial(ComposedFlow, layers=layers), 3, 1, target=target)
    optimizer = torch.optim.Adam(module.flow.parameters(), lr=5e-3)
    for _ in range(300):
        context = 2 * torch.rand(256, 1) - 1
        optimizer.zero_grad()
        loss = module.training_loss(torch.zeros(256, 3), context)[0].mean()
        loss.backward()
        optimizer.step()
    levels = torch.tensor([[-0.8], [0.0], [0.8]])
    weights = module.log_weights(4000, levels)
    found = weights.logsumexp(1) - math.log(4000)
    near(
        found.double(), LpRegression(1.0, noise=2.0, design=X, observed=Y).evidence(levels)[0], 3e-3
    )
    shares = weights.softmax(1)
    assert (1 / shares.square().sum(1) / 4000 > 0.5).all()


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda: LpRegression(0.0), "p is 0.0; accepted are positive numbers"),
        (lambda: LpRegression(noise=-1.0), "noise is -1.0; accepted are positive numbers"),
        (lambda: LpRegression(design=X), "design and observed belong together"),
        (lambda: LpRegression(design=X, observed=[1.0]), "accepted are 30 finite numbers"),
        (
            lambda: LpRegression(design=[[1.0, 2.0], [2.0, 4.0], [0.0, 0.0]], observed=[1, 2, 3]),
            "design has 2 columns, of rank 1; accepted are two or more",
        ),
        (
            lambda: LpRegression(design=[[1.0, 2.0], [1.0, 4.0]], observed=[1, 2]),
            "a constant column",
        ),
    ],
)
def test_refuses_senseless_options(build, message):
    with pytest.raises(ConfigError, match=message):
        build()
