"""Assignment flows on a known joint law: bounds below the log-probability, the naive one above."""

from functools import partial

import pytest
import torch
from discrete import ENTROPY, LABELS, PROBABILITIES, Posterior

from lightning_flows.core.errors import ConfigError, ShapeError
from lightning_flows.flows import AssignmentFlow
from lightning_flows.nets import FieldMLP
from proofs.common import make, near


def ideal(horizon, **options):
    """The flow with the field that is right for the joint law."""
    build = partial(AssignmentFlow, 2, classes=3, horizon=horizon, **options)
    return build(field=partial(Posterior, horizon=horizon)).double().eval()


@torch.no_grad()
def bound(flow, draws):
    """-E log P(y) as the flow bounds it, and its standard error."""
    mean, error = flow.estimate(LABELS, draws=draws)
    return (
        -(PROBABILITIES * mean).sum().item(),
        (PROBABILITIES * error).square().sum().sqrt().item(),
    )


@torch.no_grad()
def naive(flow, draws):
    """The same with q = N(T Π₀e_y, I) that is not kept inside of the cell of y."""
    torch.manual_seed(1)
    vertex = flow.field.vertex(LABELS.repeat_interleave(draws, 0))
    noise = torch.randn_like(vertex)
    z, contribution = flow.transport.encode(vertex + noise)
    ratio = flow.base.log_prob(z) + contribution - flow.base.log_prob(noise)
    return -(PROBABILITIES * ratio.reshape(9, draws).mean(1)).sum().item()


@torch.no_grad()
def total_variation(flow, n):
    x = flow.sample(n)
    assert x.unique().tolist() == [0, 1, 2]
    shares = torch.bincount((3 * x[:, 0] + x[:, 1]).long(), minlength=9) / n
    return (shares - PROBABILITIES).abs().sum().item() / 2


def test_the_right_field_has_the_entropy():
    flow = ideal(8.0, steps=24)
    found, error = bound(flow, 100)
    assert abs(found - ENTROPY) < 0.01
    assert found > ENTROPY - 2 * error - 1e-3  # of the steps
    torch.manual_seed(0)
    assert total_variation(flow, 20_000) < 0.01


def test_at_a_short_horizon_the_naive_estimate_is_optimistic_and_the_bound_is_not():
    flow = ideal(2.0, steps=8)
    found, error = bound(flow, 200)
    assert naive(flow, 200) < ENTROPY - 0.3
    assert found > ENTROPY - 2 * error
    # importance weights of draws inside of the cells have the probabilities of samples as means
    with torch.no_grad():
        masses = flow._drawn(LABELS, None, 1000).exp().mean(1)
    torch.manual_seed(0)
    x = flow.sample(20_000)
    shares = torch.bincount((3 * x[:, 0] + x[:, 1]).long(), minlength=9) / 20_000
    near(masses.sum().item(), 1.0, 0.03)
    near(masses, shares.to(masses), 0.03)


def test_the_field_is_the_posterior_mean_of_the_vertex():
    """Against the mean over the nine pairs of labels."""
    flow = ideal(8.0)
    for t in (0.05, 0.2, 0.6):
        torch.manual_seed(0)
        labels = LABELS[torch.multinomial(PROBABILITIES, 200, replacement=True)]
        noise, end = flow.endpoints(labels)
        z = torch.lerp(noise, end, t)
        vertices = flow.field.vertex(LABELS)
        distances = (z[:, None] - t * vertices).square().sum(2)
        weights = (PROBABILITIES.log() - distances / 2).softmax(1)
        near(flow.field.velocity(z, t), weights @ vertices, 1e-9)
        near(end - noise, flow.field.vertex(labels), 1e-12)


def test_draws_average_the_bound():
    build = partial(AssignmentFlow, 3, classes=[2, 4, 3], field=partial(FieldMLP, hidden=(4,)))
    one, many = (make(partial(build, steps=4, horizon=2.0, draws=k)).eval() for k in (1, 64))
    x = torch.tensor([[0, 3, 2], [1, 0, 1]], dtype=torch.float64)
    mean, error = one.estimate(x, draws=64)
    near(many.log_prob(x), mean, 1e-12)
    again, repeated = one.estimate(x, draws=1024)
    assert ((again - mean).abs() < 4 * (error + repeated)).all()
    assert (repeated * 4 / error > 0.5).all()
    assert (repeated * 4 / error < 2).all()
    assert not one.exact
    assert one.measure == "counting"


def test_columns_have_classes_of_their_own():
    flow = make(partial(AssignmentFlow, 3, classes=[2, 4, 3], steps=4, horizon=2.0)).eval()
    assert flow.classes == (2, 4, 3)
    x = flow.sample(500)
    assert [column.unique().tolist() for column in x.unbind(1)] == [[0, 1], [0, 1, 2, 3], [0, 1, 2]]
    z = torch.randn(20, 9, dtype=torch.float64)
    v = flow.field.velocity(z, 0.4)
    for part in v.split([2, 4, 3], 1):
        near(part.sum(1), torch.zeros(20, dtype=v.dtype), 1e-10)
    shifted = z + torch.tensor([3.0] * 2 + [-1.0] * 4 + [2.0] * 3, dtype=z.dtype)
    near(flow.field.velocity(shifted, 0.4), v, 1e-9)  # logits count up to a constant
    odd = torch.tensor([[0, 3, 2], [2, 3, 2], [0, 0.5, 2], [0, -1, 2]], dtype=torch.float64)
    assert flow.log_prob(odd).isfinite().tolist() == [True, False, False, False]


def test_images_of_two_classes():
    build = partial(AssignmentFlow, (1, 2, 3), field=partial(FieldMLP, hidden=(4,)), steps=4)
    flow = make(partial(build, horizon=2.0)).eval()
    x = flow.sample(30)
    assert x.shape == (30, 1, 2, 3)
    assert flow.log_prob(x).isfinite().all()
    assert flow.encode(x).shape == (30, 12)
    near(flow.decode(flow.encode(x)), x, 0.0)  # by paths there and back


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: AssignmentFlow(2, classes=1), "classes is 1; accepted are integers from 2 up"),
        (lambda: AssignmentFlow(2, classes=[3, 1]), r"classes is \[3, 1\]; accepted are integers"),
        (
            lambda: AssignmentFlow(2, classes=[3, 3, 3]),
            r"classes is \[3, 3, 3\] for events of shape \(2,\); accepted are one number",
        ),
        (
            lambda: AssignmentFlow((1, 2, 2), classes=[2]),
            r"classes is \[2\] for events of shape \(1, 2, 2\)",
        ),
        (lambda: AssignmentFlow(2, horizon=0.0), "horizon is 0.0; accepted are positive numbers"),
        (lambda: AssignmentFlow(2, draws=0), "draws is 0; accepted are positive integers"),
    ],
)
def test_what_is_refused(call, message):
    with pytest.raises(ConfigError, match=message):
        call()


def test_a_field_of_the_wrong_number_of_logits_is_refused():
    with pytest.raises(ShapeError, match=r"field made one of event_shape \(2,\).*\(6,\)"):
        AssignmentFlow(2, classes=3, field=lambda shape: FieldMLP(2))
