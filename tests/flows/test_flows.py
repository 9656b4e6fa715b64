"""Every flow against every proof. A new architecture is one line in `flow_cases.py`."""

from functools import partial

import pytest
import torch
from flow_cases import (
    CASES,
    FIRST,
    FREE_FORM_CASES,
    INJECTIVE_CASES,
    SLOW_CASES,
    SURJECTIVE_CASES,
    H,
    glow,
    small,
)

from lightning_flows import flows
from lightning_flows.bases import NormalMixture, Uniform
from lightning_flows.core.errors import ConfigError, ShapeError
from lightning_flows.flows.base import Flow
from lightning_flows.flows.coupling import NICE, RealNVP
from lightning_flows.flows.glow import Glow
from lightning_flows.flows.injective import PaddedFlow
from lightning_flows.transforms.bijections.elementwise import Sigmoid
from proofs import density, flow
from proofs.common import make, pairs

# what needs a round trip, or the decoder's last bias to have a say in the density on its manifold
NOT_FREE = (density.gradients_reach_every_parameter, density.context_goes_with_its_row)
OF_FREE_FORM = [proof for proof in density.PROOFS if proof.run not in NOT_FREE]


@pytest.mark.parametrize(
    ("prove", "build"), pairs(CASES | SURJECTIVE_CASES, [*density.PROOFS, *flow.PROOFS])
)
def test_flow(prove, build):
    prove(build)


@pytest.mark.slow
@pytest.mark.parametrize(("prove", "build"), pairs(SLOW_CASES, [*density.PROOFS, *flow.PROOFS]))
def test_slow_flow(prove, build):
    prove(build)


@pytest.mark.parametrize(
    ("prove", "build"), pairs(INJECTIVE_CASES, [*density.PROOFS, *flow.INJECTIVE])
)
def test_injective_flow(prove, build):
    prove(build)


@pytest.mark.parametrize(
    ("prove", "build"), pairs(FREE_FORM_CASES, [*OF_FREE_FORM, *flow.FREE_FORM])
)
def test_free_form_flow(prove, build):
    prove(build)


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda: RealNVP(2, layers=0), "layers is 0; accepted are positive integers"),
        (lambda: RealNVP(2, mixing="glow"), "mixing is 'glow'; accepted are"),
        (lambda: RealNVP(2, activation="step"), "activation is 'step'; accepted are relu"),
        (lambda: RealNVP(2, bound=0.0), "bound is 0.0; accepted are positive numbers"),
        (lambda: Glow((1, 4, 4), steps=0), "steps is 0; accepted are positive integers"),
        (lambda: PaddedFlow(3, latent_features=3), "latent_features is 3; data has 3 dimensions"),
    ],
)
def test_refuses_senseless_options(build, message):
    with pytest.raises(ConfigError, match=message):
        build()


def test_nice_without_scaling_keeps_the_volume():
    x = torch.randn(5, 4).double()
    for scaling in (False, True):
        nice = make(lambda scaling=scaling: NICE(4, layers=4, scaling=scaling, **H))
        assert nice.transform.volume_preserving == nice.fixed_profile == (not scaling)
        assert nice.transform.encode(x)[1].all() == scaling


def test_a_profile_is_fixed_where_nothing_scales_and_the_base_is_not_learned():
    additive = partial(NICE, 4, layers=4, scaling=False, **H)
    assert additive(mixing="permutation").fixed_profile
    assert additive(base=partial(NICE, layers=2, scaling=False, **H)).fixed_profile
    assert not additive(base=NormalMixture).fixed_profile
    assert not additive(base=partial(NICE, layers=2, **H)).fixed_profile
    assert not additive(mixing="lu").fixed_profile
    assert not additive(actnorm=True).fixed_profile
    assert not RealNVP(4, layers=1, **H).fixed_profile
    assert Flow(Sigmoid(2), Uniform(2)).fixed_profile


def test_a_density_of_images_has_mass_one():
    """Four dimensions are too many for a grid: importance sampling by a wide normal density."""
    flow = make(CASES["Glow (1, 2, 2)"])
    wide = torch.distributions.Normal(torch.zeros(4).double(), 3.0)
    torch.manual_seed(1)
    x = wide.sample((200_000,))
    with torch.no_grad():
        weights = (flow.log_prob(x.reshape(-1, 1, 2, 2)) - wide.log_prob(x).sum(1)).exp()
    error = weights.std() / len(x) ** 0.5
    assert error < 0.03
    assert abs(weights.mean() - 1) < 4 * error


@pytest.mark.parametrize("shape", [(4,), (1, 6, 4)])
def test_glow_says_what_images_it_takes(shape):
    with pytest.raises(ShapeError, match=r"levels=2 takes .* sides that are multiples of 4"):
        Glow(shape)


@pytest.mark.parametrize("d", [3, 8, 10])
def test_the_manifold_takes_what_passes_through_all_levels(d):
    """1 x 4 x 4 pixels: 8 latents leave after the first level, 8 pass through both."""
    flow = PaddedFlow((1, 4, 4), latent_features=d, ambient=glow, prior=small)
    slots = set(flow.slots.tolist())
    assert len(slots) == d
    assert len(slots & set(range(8, 16))) == min(d, 8)


def test_all_flows_are_here():
    made = {part for name in flows.__all__ if isinstance(part := getattr(flows, name), type)}
    assert made - {*FIRST} == {flows.Flow, flows.FieldFlow, flows.InjectiveFlow}
