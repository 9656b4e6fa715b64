"""Layers against independent formulas, and against zuko and nflows with the same weights."""

import math

import pytest
import torch
import zuko
from nflows.transforms.made import MADE

from lightning_flows.bases import Normal, NormalMixture
from lightning_flows.flows import Flow
from lightning_flows.nets import MaskedMLP
from lightning_flows.transforms import (
    AffineAutoregressive,
    AffineCoupling,
    Logit,
    SplineAutoregressive,
    SplineCoupling,
)
from proofs.common import draw, make, near

H = {"hidden": (16, 16)}


@pytest.mark.parametrize("swap", [False, True])
def test_affine_coupling_by_hand(swap):
    layer = make(lambda: AffineCoupling(5, swap=swap, **H))
    x = draw(None, (7, 5))
    kept, changed = (x[:, 2:], x[:, :2]) if swap else (x[:, :2], x[:, 2:])
    t, raw = layer.net(kept).chunk(2, 1)
    s = 3 * torch.tanh(raw / 3)
    mapped = changed * s.exp() + t
    z, contribution = layer.encode(x)
    near(z, torch.cat([mapped, kept] if swap else [kept, mapped], 1), 1e-12)
    near(contribution, s.sum(1), 1e-12)


def test_spline_coupling_is_zukos_spline():
    layer = make(lambda: SplineCoupling(2, bins=6, bound=3.0, **H))
    x = draw(None, (9, 2))
    *logits, slopes = layer.net(x[:, :1]).split([6, 6, 5], 1)
    w, v = (1e-3 + (1 - 6e-3) * torch.softmax(part / 2, 1) for part in logits)  # damped
    theirs = zuko.transforms.MonotonicRQSTransform(w, v, torch.zeros(9, 5).double(), bound=3.0)
    zero = torch.zeros(9, 1, dtype=x.dtype)
    theirs.horizontal = 3.0 * (2 * torch.cat([zero, w.cumsum(1)], 1) - 1)
    theirs.vertical = 3.0 * (2 * torch.cat([zero, v.cumsum(1)], 1) - 1)
    start = math.log(math.expm1(1 - 1e-3))  # slope 1 at the ends
    slopes = torch.nn.functional.pad(slopes, (1, 1)) + start
    theirs.derivatives = 1e-3 + torch.nn.functional.softplus(slopes)
    expected, slope = theirs.call_and_ladj(x[:, 1])
    z, contribution = layer.encode(x)
    near(z[:, 1], expected, 1e-8)
    near(contribution, slope, 1e-7)


def test_maf_with_the_masks_and_weights_of_nflows():
    torch.manual_seed(0)
    made = MADE(
        4, 12, num_blocks=1, output_multiplier=2, use_residual_blocks=False, activation=torch.relu
    ).double()
    ours = AffineAutoregressive(4, hidden=(12, 12)).double()
    # their hidden units carry degrees 1, 2, 3, 1, 2, 3 and so on; ours are sorted by degree
    order = (torch.arange(12) % 3).argsort(stable=True)
    inner, outer = made.blocks[0].linear, made.final_layer
    with torch.no_grad():
        first, second, last = ours.net.layers
        first.weight.copy_(made.initial_layer.weight[order])
        first.bias.copy_(made.initial_layer.bias[order])
        second.weight.copy_(inner.weight[order][:, order])
        second.bias.copy_(inner.bias[order])
        # their rows are shift and scale of dimension 1, of dimension 2 and so on
        last.weight.copy_(torch.cat([outer.weight[0::2], outer.weight[1::2]])[:, order])
        last.bias.copy_(torch.cat([outer.bias[0::2], outer.bias[1::2]]))
    x = draw(None, (6, 4))
    hidden = torch.relu(inner(torch.relu(made.initial_layer(x))))
    t, raw = outer(hidden).unflatten(1, (4, 2)).unbind(2)
    s = 3 * torch.tanh(raw / 3)
    z, contribution = ours.encode(x)
    near(z, x * s.exp() + t, 1e-12)
    near(contribution, s.sum(1), 1e-12)


@pytest.mark.parametrize("context", [None, 2])
@pytest.mark.parametrize("reverse", [False, True])
@pytest.mark.parametrize("kind", [AffineAutoregressive, SplineAutoregressive])
def test_autoregressive_layers_depend_on_all_earlier_dimensions(kind, reverse, context):
    layer = make(lambda: kind(5, hidden=(64, 64), reverse=reverse, context_shape=context))
    rows = None if context is None else draw(None, (1, context))
    jacobian = torch.autograd.functional.jacobian(
        lambda v: layer.encode(v[None], rows)[0][0], draw(None, (5,))
    )
    jacobian = jacobian.flip(0, 1) if reverse else jacobian
    assert not jacobian.triu(1).any()
    assert (jacobian[torch.ones(5, 5).tril().bool()] != 0).all()


@pytest.mark.parametrize("hidden", [(3,), (8, 5), (16, 16, 4)])
@pytest.mark.parametrize("context", [0, 2])
def test_masked_steps_equal_one_pass(hidden, context):
    net = make(lambda: MaskedMLP(6, 3, hidden=hidden, context_features=context))
    x = draw(None, (4, context + 6))
    whole = net(x)
    steps = net.steps(4, x[:, :context] if context else None)
    for j in range(6):
        near(steps.outputs(), whole[:, :, j], 1e-12)
        steps.push(x[:, context + j : context + j + 1])


def test_logit_of_dinh_et_al():
    x = torch.tensor([[0.0, 0.25, 1.0]], dtype=torch.float64)
    z, contribution = Logit(3, alpha=0.05).encode(x)
    p = 0.05 + 0.9 * x
    near(z, torch.log(p / (1 - p)), 1e-12)
    near(contribution, torch.log(0.9 / (p * (1 - p))).sum(1), 1e-12)


def test_bases_against_torch_distributions():
    x = draw(None, (5, 2, 3))
    normal = Normal((2, 3), loc=1.5, scale=0.7).double()
    expected = torch.distributions.Normal(1.5, 0.7).log_prob(x).sum((1, 2))
    near(normal.log_prob(x), expected, 1e-7)
    mixture = make(lambda: NormalMixture((2, 3), components=4))
    parts = torch.distributions.Normal(mixture.loc, mixture.log_scale.exp())
    expected = torch.distributions.MixtureSameFamily(
        torch.distributions.Categorical(logits=mixture.logits),
        torch.distributions.Independent(parts, 2),
    ).log_prob(x)
    near(mixture.log_prob(x), expected, 1e-10)


def test_flow_with_identity_layers_is_its_base():
    flow = Flow(AffineCoupling(2, **H))
    with torch.no_grad():
        for parameter in flow.parameters():
            parameter.zero_()
    x = torch.tensor([[1.0, 2.0]])
    assert flow.log_prob(x).item() == pytest.approx(-math.log(2 * math.pi) - 2.5, abs=1e-6)
