"""Surjections and stochastic maps: what they refuse, known values, bounds, plain text."""

import math
from functools import partial

import pytest
import torch
from jsonargparse import ArgumentParser

from lightning_flows.bases import Categorical, ConditionalNormal, HalfNormal, Normal, Uniform
from lightning_flows.core.errors import ConfigError, ShapeError
from lightning_flows.core.noise import Resampled
from lightning_flows.core.recipe import build_part, to_recipe
from lightning_flows.flows import Flow
from lightning_flows.transforms import (
    Abs,
    AffineCoupling,
    Augment,
    Chain,
    Dequantize,
    ElementwiseAffine,
    Inverse,
    Logit,
    Max,
    OnEntries,
    Orthogonal,
    Permutation,
    ReLU,
    Reshape,
    Slice,
    Softplus,
    Sort,
    SortedToReal,
    StochasticPermutation,
    Transform,
    VAELayer,
)
from proofs.common import make, near

affine = partial(AffineCoupling, hidden=(8,))


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda: Flow(Abs(2)), r"in \[0, inf\): .* Inverse\(Softplus\(\.\.\.\)\)"),
        (lambda: Chain([Abs(2), affine(2)]), r"ElementwiseAffine|AffineCoupling.* Inverse\(Softp"),
        (lambda: Flow(Sort(3)), r"ascending values in \(-inf, inf\): put SortedToReal"),
        (lambda: Chain([Sort(3), affine(3)]), "defined on .*: put SortedToReal after the sorting"),
        (lambda: Chain([Sort(3), Permutation(3)]), "Permutation.* would mix its entries: put Sor"),
        (lambda: Chain([Sort(3), Slice(3, 2)]), "put SortedToReal"),
        (lambda: Flow(StochasticPermutation(3), Flow(SortedToReal(3))), "would mix its entries"),
        (lambda: Flow(ReLU(2)), "with an atom at 0: score it with a base .* ZeroInflated"),
        (lambda: Flow(ReLU(2), HalfNormal(2)), "with an atom at 0"),
        (lambda: Flow(Inverse(Dequantize(2, 3))), "integers in .* score it with Categorical"),
        (lambda: Chain([affine(2), Dequantize(2, 3)]), r"put Inverse\(Dequantize\(\.\.\.\)\)"),
        (lambda: Flow(Augment(2, 1, density=Uniform)), r"\[0, 1\]: .* Logit"),
        (lambda: Slice(4, 2, density=Normal(3)), r"Normal scores events of shape \(3,\); the lay"),
        (lambda: Slice(4, 1, density=ConditionalNormal(3, 2)), r"conditions it on \(1,\)"),
        (lambda: Max(3, density=Normal), r"Normal lives on \(-inf, inf\); the layer .* \[0, inf\)"),
        (lambda: OnEntries(2, [0], Abs(1)), "leads from .* chain it with a bijection"),
        (lambda: OnEntries(3, [0], affine(2)), r"OnEntries needs a map of \(1,\)"),
        (lambda: OnEntries(3, [0], affine(1, context_shape=3)), r"make \(2,\)"),
    ],
)
def test_refuses_what_does_not_fit(build, message):
    with pytest.raises(ShapeError, match=message):
        build()


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda: Slice(4, 4), "keep is 4; accepted are 1 to 3"),
        (lambda: Slice(4, 2, dim=1), r"dim is 1; events of shape \(4,\) have 0 to 0"),
        (lambda: Augment(4, 0), "add is 0; accepted are positive integers"),
        (lambda: Augment(4, 1, dim=2), "dim is 2"),
        (lambda: Max(1), "two entries or more"),
        (lambda: OnEntries(3, [0, 0], affine(2)), "different integers from 0 to 2"),
        (lambda: Categorical(2, classes=1), "classes is 1; accepted are integers from 2 up"),
        (
            lambda: ReLU(2, density=Flow(Inverse(Softplus(2)), Flow(Softplus(2), HalfNormal(2)))),
            "ReLU needs a density of independent entries",
        ),
        (
            lambda: Slice(4, 2, density=Flow(Augment(2, 1))),
            "Flow gives a lower bound of its density; a layer can only use exact ones",
        ),
    ],
)
def test_refuses_senseless_options(build, message):
    with pytest.raises(ConfigError, match=message):
        build()


def test_contributions_by_hand():
    x = torch.tensor([[3.0, -1.0, 2.0]])
    z, contribution = Abs(3).encode(x)
    assert (z.tolist(), contribution.item()) == ([[3, 1, 2]], pytest.approx(-3 * math.log(2)))
    z, contribution = Sort(3).encode(x)
    assert (z.tolist(), contribution.item()) == ([[-1, 2, 3]], pytest.approx(-math.log(6)))
    z, contribution = Max(3).encode(x)  # gaps 4 and 1 below the largest
    expected = -math.log(3) + math.log(2 / math.pi) - (16 + 1) / 2
    assert (z.tolist(), contribution.item()) == ([[3]], pytest.approx(expected))
    z, contribution = ReLU(3).encode(x)
    assert z.tolist() == [[3, 0, 2]]
    assert contribution.item() == pytest.approx(0.5 * math.log(2 / math.pi) - 0.5)
    z, contribution = Slice(3, 1, density=Normal).encode(x)
    assert (z.tolist(), contribution.item()) == (
        [[3]],
        pytest.approx(-math.log(2 * math.pi) - (1 + 4) / 2),
    )
    z, contribution = Augment(3, 2, density=Normal).encode(x)
    assert contribution.item() == pytest.approx(-Normal(2).log_prob(z[:, 3:]).item(), rel=1e-5)


def test_a_stochastic_layer_gives_one_contribution_to_a_pair():
    layer = make(lambda: VAELayer(2, 1))
    z = torch.randn(8, 1, dtype=torch.float64)
    x, contribution = layer.decode(z)
    p, q = layer.decoder.density, layer.encoder.density
    near(contribution, p.log_prob(x, z) - q.log_prob(z, x))
    z, contribution = layer.encode(x)
    near(contribution, p.log_prob(x, z) - q.log_prob(z, x))


def test_more_draws_tighten_the_bound_and_reach_the_density():
    """x = z·a + noise has a known density; the bound of k draws rises towards it."""
    flow = Flow(Chain([Augment(1, 1), Orthogonal(2), ElementwiseAffine(2)])).double().eval()
    with torch.no_grad():
        flow.transform.transforms[2].net.constant += torch.tensor([0.0, 0.0, 0.8, -0.8])
        q = flow.transform.transforms[0].transform.dropped.density
        q.net.layers[-1].bias += torch.tensor([0.3, 0.2])
    u = torch.tensor([[0.4], [-1.2]]).double()
    grid = torch.linspace(-30, 30, 6001, dtype=torch.float64)
    bijection = Flow(Chain(list(flow.transform.transforms)[1:]))
    plane = torch.stack([u.expand(2, 6001), grid.expand(2, 6001)], -1).reshape(-1, 2)
    truth = bijection.log_prob(plane).reshape(2, -1).logsumexp(1) + math.log(0.01)
    bounds = []
    for k in (1, 10, 1000):
        with torch.no_grad(), Resampled(torch.arange(1000).repeat(2)):
            log_p = flow.log_prob(u.repeat_interleave(1000, 0)).reshape(2, -1, k)
        bounds.append((log_p.logsumexp(2) - math.log(k)).mean(1))
    assert (bounds[0] < bounds[1] - 0.02).all()
    assert (bounds[1] < truth + 0.02).all()
    near(bounds[2], truth, 0.05)


def test_augmenting_with_bounded_noise_loses_mass():
    """The noise must reach what later layers make of it; a logit opens the way."""
    opened = Flow(Chain([Logit(1), Augment(1, 1), Orthogonal(2)]))
    x = torch.linspace(0.001, 0.999, 4000, dtype=torch.float64)[:, None]
    with torch.no_grad():
        assert opened.double().log_prob(x).exp().mean().item() == pytest.approx(1, abs=0.03)
    with pytest.raises(ShapeError, match="Logit"):
        Flow(Augment(1, 1, density=Uniform))


def test_ties_and_zeros_stay_finite():
    x = torch.zeros(2, 3, requires_grad=True)
    for chain in ([Sort(3), SortedToReal(3)], [Abs(3), Inverse(Softplus(3))]):
        log_p = Flow(Chain(chain)).log_prob(x)
        assert log_p.isfinite().all()
        assert torch.autograd.grad(log_p.sum(), x)[0].isfinite().all()


def test_sets_have_one_density_for_all_orders():
    p = make(
        lambda: Flow(Chain([Sort((3, 2)), SortedToReal((3, 2)), Reshape((3, 2), 6), affine(6)]))
    )
    x = torch.randn(5, 3, 2, dtype=torch.float64)
    near(p.log_prob(x[:, [2, 0, 1]]), p.log_prob(x))


BASES = "lightning_flows.bases."


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("Slice", {"keep": 2, "density": {"class_path": BASES + "Normal"}}),
        (
            "Slice",
            {
                "keep": 1,
                "density": {
                    "class_path": BASES + "ConditionalNormal",
                    "init_args": {"hidden": [8]},
                },
            },
        ),
        (
            "Augment",
            {
                "add": 2,
                "density": {"class_path": "lightning_flows.RealNVP", "init_args": {"layers": 2}},
            },
        ),
        (
            "Slice",
            {
                "keep": 2,
                "density": {"class_path": BASES + "Normal", "init_args": {"event_shape": 2}},
            },
        ),
        ("Abs", {"density": {"class_path": BASES + "Bernoulli"}}),
        (
            "Max",
            {"place_density": {"class_path": BASES + "Categorical", "init_args": {"hidden": [4]}}},
        ),
    ],
)
@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # a newer jsonargparse renames a method
def test_built_from_plain_text_and_stored(name, options):
    parser = ArgumentParser(exit_on_error=False)
    parser.add_argument("--layer", type=Transform)
    path = f"lightning_flows.transforms.{name}"
    text = {"layer": {"class_path": path, "init_args": {"event_shape": 4, **options}}}
    layer = parser.instantiate_classes(parser.parse_object(text)).layer
    again = build_part(to_recipe(layer))
    again.load_state_dict(layer.state_dict())
    x = torch.randn(3, 4)
    z, contribution = again.eval().encode(x)
    near((z, contribution), layer.eval().encode(x), 1e-6)
