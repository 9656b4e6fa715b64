"""Manifolds of padded flows: what is cut away, and that training can choose it."""

from functools import partial

import pytest
import torch

from lightning_flows.bases import Normal
from lightning_flows.flows import Glow, PaddedFlow, RealNVP
from lightning_flows.transforms import LULinear

glow = partial(Glow, steps=1, hidden=(8,))
small = partial(RealNVP, layers=2, hidden=(8,))


def arc_and_normal(n):
    """Two columns on an arc and an independent third one: two dimensions in three."""
    generator = torch.Generator().manual_seed(0)
    angle = 4.4 * (torch.rand(n, generator=generator) - 0.5)
    x = torch.stack([angle.cos(), angle.sin(), torch.randn(n, generator=generator)], 1)
    return (x - x.mean(0)) / x.std(0)


def error_after_training(seed, n, steps):
    """Smallest squared error of the default flow on the way; a lost column costs 0.2 or more."""
    torch.manual_seed(0)
    x = arc_and_normal(n)
    flow = PaddedFlow(3, latent_features=2, seed=seed, prior=Normal)
    optimizer = torch.optim.Adam(flow.ambient.parameters(), lr=2e-3)
    errors = []
    for _ in range(steps):
        loss = (flow.embed(flow.project(x)) - x).square().sum(1).mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        errors.append(loss.item())
    return min(errors)


def test_training_brings_every_column_onto_the_manifold():
    """Seeds 0, 1 and 3 leave out one place each."""
    left_out = {({0, 1, 2} - {*PaddedFlow(3, latent_features=2, seed=s).slots.tolist()}).pop()
                for s in (0, 1, 3)}  # fmt: skip
    assert left_out == {0, 1, 2}
    assert max(error_after_training(seed, n=128, steps=100) for seed in (0, 1, 3)) < 0.1


@pytest.mark.slow
def test_all_seeds_reach_the_error_of_the_best():
    errors = [error_after_training(seed, n=512, steps=500) for seed in range(20)]
    assert max(errors) < min(errors) + 1e-3


def test_only_the_default_ambient_is_mixed():
    assert any(isinstance(part, LULinear) for part in PaddedFlow(3).ambient.modules())
    given = PaddedFlow(3, ambient=small)
    assert not any(isinstance(part, LULinear) for part in given.ambient.modules())


def test_the_seed_chooses_the_entries():
    choices = [PaddedFlow(9, latent_features=3, ambient=small, seed=seed) for seed in (0, 0, 1)]
    first, same, other = (flow.slots.tolist() for flow in choices)
    assert first == same
    assert {*first} != {*other}
    images = [
        PaddedFlow((1, 4, 4), latent_features=3, ambient=glow, seed=s).slots for s in range(5)
    ]
    assert len({tuple(sorted(slots.tolist())) for slots in images}) > 1


@pytest.mark.parametrize(("d", "per_level"), [(5, (0, 0, 5)), (20, (0, 4, 16)), (40, (8, 16, 16))])
def test_slots_lie_in_the_last_levels(d, per_level):
    flow = PaddedFlow((1, 8, 8), latent_features=d, ambient=partial(glow, levels=3), prior=small)
    assert flow.ambient.sizes == [32, 16, 16]
    slots = flow.slots
    assert len({*slots.tolist()}) == d
    first, second = slots < 32, slots < 48
    assert per_level == (first.sum(), (second & ~first).sum(), (~second).sum())


@pytest.mark.parametrize("ambient", [partial(glow, levels=2), small])
def test_coordinates_stand_in_their_slots_and_zeros_elsewhere(ambient):
    flow = PaddedFlow((1, 4, 4), latent_features=5, ambient=ambient, prior=small, seed=3).double()
    u = torch.randn(7, 5, dtype=torch.float64)
    with torch.no_grad():
        latents = flow.ambient(flow.embed(u))[0]
    expected = torch.zeros(7, 16, dtype=torch.float64)
    expected[:, flow.slots] = u
    torch.testing.assert_close(latents, expected, rtol=0, atol=1e-10)
