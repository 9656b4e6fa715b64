"""Continuous flows against closed forms, and what is refused."""

import math
from functools import partial

import pytest
import torch
from flow_cases import continuous, field
from torch import nn

from lightning_flows.core.errors import ConfigError, DivergenceError, ShapeError
from lightning_flows.core.noise import Placed
from lightning_flows.flows import ContinuousFlow
from lightning_flows.jacobians import tangents
from lightning_flows.nets import FieldMLP, VectorField
from proofs.common import make, near, same


class Linear(VectorField):
    """v(x, t) = (1 + t) A x + b + C c, whose flow has a closed form."""

    def __init__(self, event_shape, context_shape=None, *, strength=1.0):
        super().__init__(event_shape, context_shape)
        generator = torch.Generator().manual_seed(3)
        n = self.event_shape[0]
        self.a = nn.Parameter(0.6 * strength * torch.randn(n, n, generator=generator).double())
        self.b = nn.Parameter(torch.randn(n, generator=generator).double())

    def forward(self, x, t, context=None):
        drift = self.b if context is None else self.b + context
        return (1 + t)[:, None] * (x @ self.a.mT + drift)


def closed_form(flow, x, drift):
    """Of ∫ (1 + t) dt = 3/2: x(1) = e^(3A/2) (x(0) + A⁻¹d) - A⁻¹d."""
    a = flow.field.a.detach()
    rest = torch.linalg.solve(a, drift[..., None])[..., 0]
    map_ = torch.linalg.matrix_exp(1.5 * a)
    z = torch.linalg.solve(map_, (x + rest)[..., None])[..., 0] - rest
    normal = torch.distributions.Normal(0.0, 1.0).log_prob(z).sum(1)
    return z, normal - 1.5 * torch.trace(a)


@pytest.mark.parametrize("options", [{"tolerance": 1e-8}, {"steps": 40}])
@pytest.mark.parametrize("conditional", [False, True])
def test_a_linear_field_has_its_closed_form(options, conditional):
    flow = ContinuousFlow(3, field=Linear, context_shape=3 if conditional else None, **options)
    x = torch.randn(9, 3, dtype=torch.float64)
    context = torch.randn(9, 3, dtype=torch.float64) if conditional else None
    drift = (flow.field.b.detach() + (0 if context is None else context)).expand(9, 3)
    z, log_p = closed_form(flow, x, drift)
    near(flow.encode(x, context), z, 1e-6)
    near(flow.decode(z, context), x, 1e-6)
    near(flow.log_prob(x, context), log_p, 1e-6)
    near(flow.transport.decode(z, context)[1], flow.transport.encode(x, context)[1], 1e-6)


def test_single_precision_and_the_default_tolerance():
    flow = ContinuousFlow(3, field=Linear)
    x = torch.randn(50, 3, dtype=torch.float64)
    drift = flow.field.b.detach().expand(50, 3)
    expected = closed_form(flow, x, drift)[1]
    near(flow.log_prob(x), expected, 1e-5)
    near(flow.float().log_prob(x.float()).double(), expected, 1e-4)


def test_the_divergence_is_the_trace_of_the_jacobian():
    for shape in ((3,), (1, 2, 2)):
        flow = make(partial(ContinuousFlow, shape, field=field, steps=1), strength=2.0)
        x = torch.randn(4, *shape, dtype=torch.float64)
        t = torch.full((4,), 0.3, dtype=torch.float64)

        def v(x, flow=flow, t=t):
            return flow.field(x, t[: len(x)])

        directions = flow.transport._directions(x)
        _, derivatives = tangents(v, x, directions)
        found = (directions * derivatives).flatten(2).sum((0, 2))
        for i in range(4):
            jacobian = torch.autograd.functional.jacobian(v, x[i : i + 1])
            n = x[0].numel()
            near(found[i], jacobian.reshape(n, n).trace(), 1e-12)


def test_log_prob_is_that_of_the_jacobian_of_the_whole_map():
    flow = make(partial(ContinuousFlow, 3, field=field, steps=40), strength=1.0)
    x = torch.randn(4, 3, dtype=torch.float64)
    log_p = flow.log_prob(x)
    for i in range(4):
        jacobian = torch.autograd.functional.jacobian(lambda v: flow.encode(v[None])[0], x[i])
        base = flow.base.log_prob(flow.encode(x[i : i + 1]))[0]
        near(log_p[i], base + torch.linalg.slogdet(jacobian).logabsdet, 1e-7)


def test_random_signs_estimate_without_bias():
    exact = make(partial(continuous, 4), strength=2.0).eval()
    estimated = make(partial(continuous, 4, probes=1), strength=2.0).eval()
    x = torch.randn(6, 4, dtype=torch.float64)
    state = torch.get_rng_state()
    mean, error = estimated.estimate(x, draws=2000)
    assert torch.equal(torch.get_rng_state(), state)
    assert (error > 0).all()
    assert ((mean - exact.log_prob(x)).abs() < 3 * error).all()
    same(estimated.log_prob(x), estimated.log_prob(x))
    with Placed(torch.arange(6) + 10):
        assert not torch.equal(estimated.log_prob(x), estimated.log_prob(x.flip(0)).flip(0))
    several = make(partial(continuous, 4, probes=8), strength=2.0).eval()
    ratio = error / several.estimate(x, draws=2000)[1]
    assert (ratio / 8**0.5 - 1).abs().max() < 0.15
    same(exact.estimate(x, draws=2)[1], torch.zeros(6, dtype=x.dtype))
    estimated.train()
    assert not torch.equal(estimated.log_prob(x), estimated.log_prob(x))


def test_the_divergence_is_exact_up_to_a_hundred_entries():
    assert ContinuousFlow(100).transport.probes == 0
    assert ContinuousFlow(101).transport.probes == 1
    assert ContinuousFlow(101, probes=0).transport.probes == 0


def test_adaptive_and_fixed_steps_agree_within_the_tolerance():
    fixed = make(partial(continuous, 2, steps=100), strength=1.0)
    x = torch.randn(40, 2, dtype=torch.float64)
    for tolerance in (1e-4, 1e-7):
        build = partial(continuous, 2, steps=None, tolerance=tolerance)
        adaptive = make(build, strength=1.0)
        near(adaptive.log_prob(x), fixed.log_prob(x), 20 * tolerance)
        near(adaptive.encode(x), fixed.encode(x), 20 * tolerance)
        near(adaptive.log_prob(x[:3]), adaptive.log_prob(x)[:3], 20 * tolerance)


def test_gradients_go_through_adaptive_steps():
    flow = make(partial(continuous, 2, steps=None, tolerance=1e-9))
    fixed = make(partial(continuous, 2, steps=50))
    x = torch.randn(8, 2, dtype=torch.float64)
    pairs = []
    for each in (flow, fixed):
        each.log_prob(x).sum().backward()
        pairs.append([p.grad for p in each.parameters()])
    near(pairs[0], pairs[1], 1e-6)


def test_rows_that_are_not_finite_disturb_no_others():
    for steps in (8, None):
        flow = make(partial(continuous, 2, steps=steps))
        x = torch.randn(4, 2, dtype=torch.float64)
        expected = flow.log_prob(x)
        broken = torch.cat([x, x[:2]])
        broken[4, 0], broken[5, 1] = math.inf, math.nan
        found = flow.log_prob(broken)
        near(found[:4], expected, 1e-4)
        assert found[4] == -math.inf
        assert found[5].isnan()


def test_a_path_that_overflows_has_no_density():
    build = partial(ContinuousFlow, 2, field=partial(Linear, strength=200.0))
    x = torch.ones(3, 2)
    found = build(steps=64).float().log_prob(x)
    assert (found == -math.inf).all()
    with pytest.raises(DivergenceError, match="cannot be followed by adaptive steps"):
        build().log_prob(1e300 * x.double())


def test_adaptive_steps_of_no_rows_and_of_half_precision():
    flow = ContinuousFlow(2).to(torch.bfloat16)
    assert flow.log_prob(torch.zeros(0, 2, dtype=torch.bfloat16)).shape == (0,)
    x = torch.randn(4, 2).to(torch.bfloat16)
    assert flow.log_prob(x).dtype == torch.bfloat16
    near(flow.encode(x), x, 1e-2)  # the velocity is zero at the start


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: ContinuousFlow(2, steps=0), ConfigError, "steps is 0; accepted are positive"),
        (lambda: ContinuousFlow(2, probes=-1), ConfigError, "probes is -1; accepted are integers"),
        (lambda: ContinuousFlow(2, tolerance=0.0), ConfigError, "tolerance is 0.0; accepted are"),
        (
            lambda: ContinuousFlow(2, field=lambda shape: nn.Linear(2, 2)),
            ConfigError,
            "field makes a Linear; give what makes a VectorField",
        ),
        (
            lambda: ContinuousFlow(2, field=lambda shape: FieldMLP(3)),
            ShapeError,
            r"field made one of event_shape \(3,\) and context_shape None; expected are \(2,\)",
        ),
        (
            lambda: ContinuousFlow(2, field=lambda shape: FieldMLP(shape), context_shape=3),
            ConfigError,
            r"context_shape is \(3,\), and field does not take one",
        ),
        (
            lambda: ContinuousFlow(2).estimate(torch.zeros(1, 2), draws=1),
            ConfigError,
            "draws is 1; accepted are integers from 2 up",
        ),
        (
            lambda: FieldMLP(2, frequencies=-1),
            ConfigError,
            "frequencies is -1; accepted are integers from 0 up",
        ),
        (
            lambda: FieldMLP(2).velocity(torch.zeros(3, 2), 1.2),
            ConfigError,
            r"t is 1.2; accepted are times from 0 \(noise\) to 1 \(data\)",
        ),
        (
            lambda: FieldMLP(2).velocity(torch.zeros(2, 2), torch.tensor([0.5, math.nan])),
            ConfigError,
            "t is nan; accepted are times from 0",
        ),
        (
            lambda: FieldMLP(2).velocity(torch.zeros(3, 2), torch.zeros(2)),
            ShapeError,
            r"t has shape \(2,\); expected is one time, or one for each of 3 points",
        ),
        (
            lambda: FieldMLP(2).velocity(torch.zeros(3, 3), 0.5),
            ShapeError,
            r"x has shape \(3, 3\); expected is \(batch, 2\)",
        ),
        (
            lambda: FieldMLP(2, 3).velocity(torch.zeros(3, 2), 0.5),
            ShapeError,
            r"context is missing; the field has the context_shape \(3,\)",
        ),
    ],
)
def test_what_is_refused(call, error, message):
    with pytest.raises(error, match=message):
        call()


def test_one_time_serves_for_all():
    net = make(partial(FieldMLP, 2, hidden=(4,)), strength=1.0)
    x = torch.randn(3, 2, dtype=torch.float64)
    same(net.velocity(x, 0.5), net.velocity(x, torch.full((3,), 0.5, dtype=x.dtype)))
    assert not torch.equal(net.velocity(x, 0.5), net.velocity(x, 0.6))
