"""Targets less their log-evidence against every proof of a density. A new one is one line here."""

import pytest
import torch
from torch.distributions import MultivariateNormal

from lightning_flows import targets
from lightning_flows.bases import Density
from lightning_flows.core.errors import ConfigError
from lightning_flows.targets import (
    Banana,
    CorrelatedNormal,
    LpRegression,
    NormalPosterior,
    Ring,
    Target,
    TorchDistribution,
)
from proofs.common import near, pairs
from proofs.density import PROOFS


class Normalized(Density):
    """A target divided by its mass."""

    def __init__(self, target):
        super().__init__(target.event_shape, target.context_shape)
        self.target = target

    def log_prob(self, x, context=None):
        return self.target.log_prob(x, context) - self.target.log_evidence(context)

    def draw(self, n, context=None, temperature=1.0):
        return self.target.draw(n, context, temperature)


THREE = [[4.0, 1.0, 0.5], [1.0, 2.0, -0.3], [0.5, -0.3, 0.5]]
TARGETS = {
    "Ring": Ring,
    "Ring (3 modes)": lambda: Ring(3, radius=2.0, scale=0.3),
    "Banana": Banana,
    "Banana (thin)": lambda: Banana(scale=1.0, curvature=1.5),
    "CorrelatedNormal": CorrelatedNormal,
    "CorrelatedNormal (3,)": lambda: CorrelatedNormal(THREE, loc=[1.0, 0.0, -2.0]),
    "NormalPosterior": NormalPosterior,
    "NormalPosterior (more entries than observations)": lambda: NormalPosterior(
        [[1.0, 2.0]], [0.5]
    ),
    "NormalPosterior (fewer)": lambda: NormalPosterior([[1.0], [2.0], [0.3]], [0.5, 1.0, -1.0]),
    "TorchDistribution": lambda: TorchDistribution("Laplace", {"loc": [0.0, 1.0], "scale": 1.0}),
    "TorchDistribution (vector)": lambda: TorchDistribution(
        "MultivariateNormal", {"loc": [0.0, 1.0], "covariance_matrix": [[2.0, 1.0], [1.0, 2.0]]}
    ),
}
CASES = {name: (lambda build=build: Normalized(build())) for name, build in TARGETS.items()}


@pytest.mark.parametrize(("prove", "build"), pairs(CASES, PROOFS))
def test_target(prove, build):
    prove(build)


def test_all_targets_are_here():
    assert {type(build()) for build in TARGETS.values()} == {
        getattr(targets, name) for name in targets.__all__
    } - {Target, LpRegression}  # on level sets, and not drawn from: test_level_sets.py


def test_the_correlated_normal_is_that_of_torch():
    target = CorrelatedNormal(THREE, loc=[1.0, 0.0, -2.0]).double()
    x = 30 * torch.randn(50, 3, dtype=torch.float64)
    loc = torch.tensor([1.0, 0.0, -2.0]).double()
    expected = MultivariateNormal(loc, torch.tensor(THREE).double()).log_prob(x)
    near(target.log_prob(x) - target.log_evidence(), expected, 1e-6)


def test_the_path_of_posteriors_is_that_of_matrices():
    design = torch.tensor([[1.0, 0.5, 0.0], [0.2, 1.0, -1.0]]).double()
    observed = torch.tensor([1.0, -1.0]).double()
    target = NormalPosterior(design.tolist(), observed.tolist()).double()
    for dtype, tolerance in ((torch.float64, 1e-6), (torch.float32, 1e-4)):
        for log_sigma in (-3.0, 0.0, 2.0):
            context = torch.tensor([[log_sigma]], dtype=dtype)
            variance = torch.tensor(2 * log_sigma).double().exp()
            marginal = design @ design.mT + variance * torch.eye(2)
            evidence = MultivariateNormal(torch.zeros(2).double(), marginal).log_prob(observed)
            found = target.to(dtype).log_evidence(context)[0]
            near(found.double(), evidence, tolerance)
            covariance = (torch.eye(3) + design.mT @ design / variance).inverse()
            mean, spread = target.moments(context)
            near(mean[0].double(), covariance @ design.mT @ observed / variance, tolerance)
            near(spread[0].double(), covariance, tolerance)


def test_outside_of_its_support_a_distribution_has_nothing():
    target = TorchDistribution("Exponential", {"rate": [1.0, 2.0]})
    assert target.log_prob(torch.tensor([[1.0, -1.0]])).tolist() == [-torch.inf]


def test_the_ring_says_which_modes_are_hit():
    ring = Ring(4)
    torch.manual_seed(0)
    shares = ring.modes_hit(ring.sample(4000))
    assert shares.sum() == 1
    assert (shares - 0.25).abs().max() < 0.03
    assert ring.modes_hit(ring.centers[:1].expand(9, 2)).tolist() == [1, 0, 0, 0]


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda: Ring(0), "modes is 0; accepted are positive integers"),
        (lambda: Ring(scale=-1.0), "scale is -1.0; accepted are positive numbers"),
        (lambda: Banana(curvature=float("nan")), "curvature is nan; accepted are finite"),
        (lambda: CorrelatedNormal([[1.0, 2.0], [2.0, 1.0]]), "accepted are symmetric positive"),
        (lambda: CorrelatedNormal([[1.0, 0.5]]), "accepted are symmetric positive definite"),
        (lambda: CorrelatedNormal([1.0, 2.0]), "covariance is .*; accepted are rows of finite"),
        (lambda: CorrelatedNormal(loc=[1.0]), r"loc is \[1.0\]; accepted are 2 finite numbers"),
        (lambda: NormalPosterior(observed=[1.0]), "observed is .*; accepted are 2 finite numbers"),
        (lambda: NormalPosterior([[1.0], [1.0, 2.0]]), "design is .*equally long"),
        (lambda: TorchDistribution("kl_divergence", {}), "accepted are classes of torch.dist"),
        (lambda: TorchDistribution("Normal", {"mean": 0.0}), "parameters do not make a Normal"),
        (lambda: TorchDistribution("Cauchy", {"loc": 0.0, "scale": 1.0}), "of single numbers"),
        (
            lambda: TorchDistribution("Laplace", {"loc": [0.0], "scale": 1.0}).sample(
                2, temperature=0.5
            ),
            "temperature is 0.5; a TorchDistribution takes 1 alone",
        ),
    ],
)
def test_refuses_senseless_options(build, message):
    with pytest.raises(ConfigError, match=message):
        build()
