"""Chain, Multiscale and Inverse: what they derive from their parts, and what they refuse."""

import pytest
import torch

from lightning_flows.bases import Normal, Uniform
from lightning_flows.core.errors import ShapeError
from lightning_flows.core.support import (
    POSITIVE,
    REAL,
    UNIT,
    Interval,
)
from lightning_flows.flows import Flow
from lightning_flows.transforms import (
    ActNorm,
    AffineCoupling,
    Chain,
    ElementwiseAffine,
    Inverse,
    Logit,
    Multiscale,
    Orthogonal,
    Permutation,
    Reshape,
    Sigmoid,
    Softplus,
    Squeeze,
    Transform,
)


class Kind(Transform):
    """A transform of a given kind that does nothing."""

    def __init__(self, kind):
        super().__init__(2, kind=kind)


BIJECTION, INFERENCE = "bijection", "inference surjection"
GENERATIVE, STOCHASTIC = "generative surjection", "stochastic"


@pytest.mark.parametrize(
    ("kinds", "kind", "exact"),
    [
        ([BIJECTION, BIJECTION], BIJECTION, True),
        ([BIJECTION, INFERENCE], INFERENCE, True),
        ([INFERENCE, INFERENCE], INFERENCE, True),
        ([GENERATIVE, BIJECTION], GENERATIVE, False),
        ([GENERATIVE, INFERENCE], STOCHASTIC, False),
        ([BIJECTION, STOCHASTIC], STOCHASTIC, False),
    ],
)
def test_kind_of_a_chain(kinds, kind, exact):
    chain = Chain([Kind(k) for k in kinds])
    assert (chain.kind, chain.exact) == (kind, exact)
    assert Flow(chain).exact is exact
    assert Flow(ElementwiseAffine(2), Flow(chain)).exact is exact


def test_shapes_context_and_supports_come_from_the_parts():
    chain = Chain([Permutation(4), Logit(4), Reshape(4, (2, 2)), Softplus((2, 2))])
    assert (chain.event_shape, chain.latent_shape) == ((4,), (2, 2))
    assert (chain.domain, chain.codomain) == (UNIT, POSITIVE)
    assert chain.context_shape is None
    conditional = Chain([ElementwiseAffine(2), ElementwiseAffine(2, context_shape=3)])
    assert conditional.context_shape == (3,)
    anywhere = Chain([Permutation(4), Reshape(4, (2, 2))])
    assert (anywhere.domain, anywhere.codomain) == (None, None)
    inverse = Inverse(chain)
    assert (inverse.event_shape, inverse.latent_shape) == ((2, 2), (4,))
    assert (inverse.domain, inverse.codomain) == (POSITIVE, UNIT)


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda: Chain([]), "Chain needs at least one transform"),
        (
            lambda: Chain([Sigmoid(2), Permutation(3)]),
            r"Sigmoid gives events of shape \(2,\); Permutation, which follows it, takes \(3,\)",
        ),
        (
            lambda: Chain([Sigmoid(2), Permutation(2), Softplus(2)]),
            r"gives values in \[0, 1\]; Softplus, which follows it, is defined on \(-inf, inf\)",
        ),
        (
            lambda: Chain([ElementwiseAffine(2), Logit(2)]),
            r"ElementwiseAffine gives values in \(-inf, inf\); Logit, .* \[0, 1\]",
        ),
        (
            lambda: Chain([ElementwiseAffine(2, context_shape=c) for c in (3, 4)]),
            r"must share one context_shape; came \[\(3,\), \(4,\)\]",
        ),
        (lambda: Multiscale([]), "Multiscale needs at least one level"),
        (
            lambda: Multiscale([Permutation(5), Permutation(2)]),
            r"Permutation gives \(5,\) and keeps half of two channels or more; .* takes \(2,\)",
        ),
        (
            lambda: Multiscale([Permutation(1), Permutation(1)]),
            r"Permutation gives \(1,\) and keeps half of two channels or more",
        ),
        (lambda: Multiscale([Permutation(4), Permutation(3)]), r"Permutation takes \(3,\)"),
        (
            lambda: Multiscale([ElementwiseAffine(4), Sigmoid(2)]),
            "All levels of Multiscale must have the same codomain",
        ),
        (
            lambda: Multiscale([ElementwiseAffine(4), Logit(2)]),
            r"gives values in \(-inf, inf\); Logit, .* is defined on \[0, 1\]",
        ),
        (lambda: Reshape(4, (2, 3)), "hold different numbers of entries"),
        (lambda: Squeeze((1, 3, 4)), "multiples of 2"),
        (
            lambda: Flow(Sigmoid(2)),
            r"base lives on \(-inf, inf\); the transform gives values in \[0, 1\]",
        ),
        (lambda: Flow(Sigmoid(2), Uniform(3)), r"base has event_shape \(3,\)"),
        (
            lambda: Flow(
                ElementwiseAffine(2, context_shape=3),
                Flow(ElementwiseAffine(2, context_shape=4)),
            ),
            "transform and base differ in context_shape",
        ),
    ],
)
def test_refuses_parts_that_do_not_fit(build, message):
    with pytest.raises(ShapeError, match=message):
        build()


def test_supports_are_those_of_the_flow():
    assert Flow(Sigmoid(1), Uniform(1)).support == REAL
    assert Flow(Logit(1)).support == UNIT
    assert Flow(Permutation(2), Uniform(2, low=2.0, high=3.0)).support == Interval(2.0, 3.0)
    assert Flow(Permutation(2), Normal(2)).support == REAL


def test_multiscale_orders_latents_as_they_are_factored_out():
    transform = Multiscale([Permutation(4, [3, 2, 1, 0]), Permutation(2, [1, 0])])
    x = torch.tensor([[1.0, 2.0, 3.0, 4.0]])
    assert transform.encode(x)[0].tolist() == [[4.0, 3.0, 1.0, 2.0]]


def test_initialize_passes_what_each_part_sees():
    torch.manual_seed(0)
    x = 5 + 3 * torch.randn(512, 4)
    first, second, inner = ActNorm(4), ActNorm(4), ActNorm((2, 1))
    chain = Chain([first, AffineCoupling(4, hidden=(8,)), second])
    levels = Multiscale([chain, Chain([Reshape(2, (2, 1)), inner])])
    levels.initialize(x)
    halfway = Chain([first, chain.transforms[1]]).encode(x)[0]
    after = second.encode(halfway)[0]
    torch.testing.assert_close(after.mean(0), torch.zeros(4), rtol=0, atol=1e-5)
    torch.testing.assert_close(after.std(0), torch.ones(4), rtol=0, atol=1e-2)
    assert all(bool(part.initialized) for part in (first, second, inner))
    before = first.shift.clone()
    levels.initialize(x + 100)
    assert torch.equal(first.shift, before)


@pytest.mark.parametrize("offset", [0.0, 1e4])
def test_actnorm_sets_mean_and_variance(offset):
    torch.manual_seed(0)
    scale = torch.tensor([0.5, 1.0, 20.0])[:, None, None]
    x = offset + scale * torch.randn(64, 3, 4, 4)
    layer = ActNorm((3, 4, 4))
    layer.initialize(x)
    z = layer.encode(x)[0].transpose(0, 1).flatten(1)
    torch.testing.assert_close(z.mean(1), torch.zeros(3), rtol=0, atol=5e-3)
    torch.testing.assert_close(z.std(1), torch.ones(3), rtol=0, atol=5e-3)
    reloaded = ActNorm((3, 4, 4))
    reloaded.load_state_dict(layer.state_dict())
    reloaded.initialize(x + 1)
    assert torch.equal(reloaded.shift, layer.shift)


def test_orthogonal_is_orthogonal():
    layer = Orthogonal(5, reflections=3).double()
    q, _ = layer.encode(torch.eye(5, dtype=torch.float64))
    torch.testing.assert_close(q @ q.T, torch.eye(5, dtype=torch.float64))
    assert torch.linalg.det(q).item() == pytest.approx(-1)


def test_squeeze_makes_channels_of_blocks():
    x = torch.arange(16.0).reshape(1, 1, 4, 4)
    z, _ = Squeeze((1, 4, 4)).encode(x)
    assert z[0, :, 0, 0].tolist() == [0.0, 1.0, 4.0, 5.0]
    assert z[0, :, 1, 1].tolist() == [10.0, 11.0, 14.0, 15.0]
