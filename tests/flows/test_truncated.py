"""Flows cut down to some directions of their latents: what is kept, held and refused."""

import copy
from functools import partial

import pytest
import torch

from lightning_flows import FreeFormFlow, InjectiveModule, PaddedFlow, RealNVP, TruncatedFlow
from lightning_flows.bases import Normal, NormalMixture
from lightning_flows.components import components
from lightning_flows.core.errors import ConfigError, ShapeError
from lightning_flows.core.recipe import build_part, to_recipe
from lightning_flows.flows import truncate
from lightning_flows.jacobians import log_volume
from lightning_flows.metrics import latent_order
from proofs.common import draw, draw_context, make, near, same

small = partial(RealNVP, layers=2, hidden=(8,))
padded = partial(PaddedFlow, latent_features=3, ambient=small, prior=small)
BUILDS = {
    "padded": lambda: padded(5),
    "conditional": lambda: padded(5, context_shape=2),
    "normal prior": lambda: padded(5, prior=Normal),
    "free-form": lambda: FreeFormFlow(5, latent_features=3, prior=small),
    "image": lambda: padded((1, 2, 3)),
}


def turned(d, dtype=torch.float64):
    generator = torch.Generator().manual_seed(3)
    return torch.linalg.qr(torch.randn(d, d, generator=generator, dtype=torch.float64)).Q.to(dtype)


@pytest.mark.parametrize("name", BUILDS)
@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float64, 1e-10), (torch.float32, 1e-3)])
@pytest.mark.parametrize("scale", [1.0, 5.0])
def test_kept_coordinates_are_those_of_the_whole_and_the_others_are_zero(
    name, dtype, tolerance, scale
):
    whole = make(BUILDS[name], dtype)
    part = truncate(whole, 2, turned(3))
    x = draw(None, (6, *whole.event_shape), dtype, scale=scale)
    context = draw_context(whole, 6, dtype)
    z = whole.encode(x, context) @ turned(3, dtype)
    near(part.encode(x, context), z[:, :2], tolerance)
    z[:, 2] = 0
    near(
        part.decode(z[:, :2], context),
        whole.decode(z @ turned(3, dtype).T, context),
        tolerance * scale,
    )


@pytest.mark.parametrize("name", BUILDS)
def test_all_directions_are_the_flow_itself(name):
    whole = make(BUILDS[name])
    part = truncate(whole, 3, turned(3))
    x, context = draw(None, (6, *whole.event_shape)), draw_context(whole, 6)
    near(part.log_prob(x, context), whole.log_prob(x, context), 1e-9)
    near(
        part.ambient_log_prob(x, context, beta=3.0),
        whole.ambient_log_prob(x, context, beta=3.0),
        1e-9,
    )
    near(
        part.decode(part.encode(x, context), context),
        whole.decode(whole.encode(x, context), context),
        1e-9,
    )


def test_a_linear_flow_keeps_its_principal_plane():
    """x = A z with A of columns 5, 2 and 0.1 long: the density on the plane of the first two."""
    generator = torch.Generator().manual_seed(0)
    axes = torch.linalg.qr(torch.randn(5, 3, generator=generator, dtype=torch.float64)).Q
    scales = torch.tensor([5.0, 2.0, 0.1], dtype=torch.float64)
    matrix = axes * scales @ turned(3).T  # whose latents are rotated
    whole = FreeFormFlow(
        5,
        latent_features=3,
        prior=Normal,
        encoder=lambda shape, d: torch.nn.Linear(*shape, d, bias=False),
        decoder=lambda shape, d: torch.nn.Linear(d, *shape, bias=False),
    ).double()
    whole.encoder.weight = torch.nn.Parameter(torch.linalg.pinv(matrix))
    whole.decoder.weight = torch.nn.Parameter(matrix)
    x = torch.randn(50, 3, generator=generator, dtype=torch.float64) @ matrix.T
    order = latent_order(whole.decode, whole.encode(x))
    part = truncate(whole, 2, order.directions)
    inside = x @ axes[:, :2]
    near(part.embed(part.project(x)), inside @ axes[:, :2].T, 1e-9)
    normal = torch.distributions.Normal(torch.zeros(2).double(), scales[:2])
    near(part.log_prob(x), normal.log_prob(inside).sum(1), 1e-9)
    near(log_volume(part.embed, part.project(x)), scales[:2].log().sum().expand(50), 1e-9)
    found = components(part.encode, part.decode, x[:2])
    near(found.scales, scales[:2].expand(2, 2), 1e-9)


def test_parameters_are_shared_and_a_copy_is_its_own():
    whole = padded(5)
    part = truncate(whole, 1)
    apart = copy.deepcopy(part)
    with torch.no_grad():
        for parameter in whole.parameters():
            parameter += 0.3
    x = torch.randn(4, 5)
    near(part.encode(x), whole.encode(x)[:, :1], 1e-5)
    assert (apart.encode(x) - part.encode(x)).abs().max() > 1e-3


@pytest.mark.parametrize("context_shape", [None, 2])
def test_a_state_dict_carries_directions(context_shape):
    factory = partial(padded, context_shape=context_shape) if context_shape else padded
    part = truncate(make(lambda: factory(5), torch.float32), 2, turned(3))
    again = build_part(to_recipe(part))
    again.load_state_dict(part.state_dict())
    other = TruncatedFlow(5, flow=padded, latent_features=2, context_shape=context_shape)
    other.load_state_dict(part.state_dict())
    x, context = torch.randn(4, 5), draw_context(part, 4, torch.float32)
    for flow in (again, other):
        same(flow.log_prob(x, context), part.log_prob(x, context))


def test_a_truncated_flow_is_truncated_again():
    whole = make(BUILDS["padded"])
    once = truncate(truncate(whole, 2, turned(3)), 1, turned(2))
    x = draw(None, (4, 5))
    near(once.project(x), whole.encode(x) @ (turned(3)[:, :2] @ turned(2)[:, :1]), 1e-10)


def test_modules_score_it_and_refuse_one_whose_manifold_moves():
    factory = partial(TruncatedFlow, flow=padded, latent_features=2)
    module = InjectiveModule(factory, 5)
    module.flow.load_state_dict(truncate(make(BUILDS["padded"], torch.float32), 2).state_dict())
    x = torch.randn(4, 5)
    near(module.log_prob(x), module.flow.log_prob(x), 1e-4)
    assert module.evaluate(x, None)["loss"].isfinite().all()
    with pytest.raises(ConfigError, match="that of TruncatedFlow moves with it: train the whole"):
        InjectiveModule(factory, 5, 2)


@pytest.mark.parametrize(
    ("build", "error", "message"),
    [
        (
            lambda: truncate(padded(5), 4),
            ConfigError,
            "latent_features is 4; .* 3 latents, .* 1 to 3",
        ),
        (
            lambda: truncate(padded(5), 0),
            ConfigError,
            "latent_features is 0; .* 3 latents, .* 1 to 3",
        ),
        (
            lambda: truncate(padded(5), 2, torch.eye(3)[:, :1]),
            ShapeError,
            r"directions have shape \(3, 1\); expected is \(3, 2 or more\)",
        ),
        (lambda: truncate(padded(5), 2, torch.ones(3, 3)), ConfigError, "not orthonormal"),
        (lambda: truncate(padded(5), 1, torch.full((3, 3), torch.nan)), ConfigError, "orthonormal"),
        (
            lambda: truncate(padded(5, prior=partial(NormalMixture, components=2)), 2),
            ConfigError,
            "PaddedFlow follow the base NormalMixture .* such as Normal or RealNVP",
        ),
        (
            lambda: truncate(padded(5, prior=partial(Normal, learned=True)), 2),
            ConfigError,
            "accepted are priors whose latents are standard normal",
        ),
        (
            lambda: TruncatedFlow(4, flow=padded(5)),
            ShapeError,
            r"flow has event_shape \(5,\); event_shape is \(4,\)",
        ),
    ],
)
def test_refuses_what_cannot_be_truncated(build, error, message):
    with pytest.raises(error, match=message):
        build()
