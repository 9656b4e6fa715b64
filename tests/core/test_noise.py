"""Evaluation noise: what a row's draw depends on, and that it averages out."""

import itertools
import math

import pytest
import torch

from lightning_flows.bases import Normal
from lightning_flows.core.errors import ShapeError
from lightning_flows.core.noise import (
    Divided,
    Placed,
    Reproducible,
    Resampled,
    normal_noise,
    occurrences,
    uniform_noise,
)
from lightning_flows.flows import Flow
from lightning_flows.transforms import (
    AffineCoupling,
    Argmax,
    Augment,
    Chain,
    Dequantize,
    ElementwiseAffine,
    Logit,
    LULinear,
    PerPosition,
    StochasticPermutation,
    VariationalDequantize,
)
from proofs.common import make

N = 10_000


def noise(x, *shape, draws=1):
    """The first draws of noise for rows of x: (draws, batch, *shape)."""
    with Reproducible(x):
        found = [normal_noise((len(x), *shape), torch.zeros(()).double()) for _ in range(draws)]
    return torch.stack(found)


def correlation(a, b):
    return torch.corrcoef(torch.stack([a.flatten(), b.flatten()]))[0, 1].abs()


@pytest.mark.parametrize("placed", [False, True])
@pytest.mark.parametrize("x", [torch.zeros(N, 1), torch.ones(N, 3).long()])
def test_equal_rows_draw_independent_normal_numbers(x, placed):
    with Placed(torch.arange(N if placed else 1)):
        first, second = noise(x, 2, draws=2)
        with Resampled(1):
            other = noise(x, 2)[0]
    for draw in (first, second, other):
        assert len(draw.unique()) > 2 * N - 40
        assert draw.mean().abs() < 4 / (2 * N) ** 0.5
        assert (draw.square().mean() - 1).abs() < 4 * (2 / (2 * N)) ** 0.5
        counts = torch.histc(torch.special.ndtr(draw), 20, 0, 1)
        expected = 2 * N / 20
        assert ((counts - expected).square() / expected).sum() < 45  # χ² with 19: 1 in 1000
    for one, two in (
        (first, second),  # two layers
        (first, other),  # two draws
        (second, other),
        (first[:, 0], first[:, 1]),  # two entries
        (first[1:], first[:-1]),  # rows beside each other
    ):
        assert correlation(one, two) < 4 / len(one) ** 0.5
        assert correlation(one.square(), two.square()) < 4 / len(one) ** 0.5


def test_rows_that_differ_do_not_depend_on_their_batch():
    x = torch.randn(500, 2, generator=torch.Generator().manual_seed(0))
    whole = noise(x, 3)
    order = torch.randperm(500, generator=torch.Generator().manual_seed(1))
    assert torch.equal(noise(x[order], 3), whole[:, order])
    assert torch.equal(torch.cat([noise(part, 3) for part in x.split(7)], 1), whole)


def test_of_equal_rows_the_first_is_as_if_it_were_alone():
    x = torch.tensor([[1], [2], [1], [3], [2], [1]])
    found = noise(x, 4)[0]
    assert len(found.flatten().unique()) == 24
    for row in (0, 1, 3):
        assert torch.equal(noise(x[row : row + 1], 4)[0, 0], found[row])
    assert torch.equal(noise(torch.tensor([[1], [1], [1], [9]]), 4)[0, :3], found[[0, 2, 5]])
    assert occurrences(x).tolist() == [0, 0, 1, 0, 1, 2]
    pieces = []
    for places in occurrences(x).split(2):
        with Placed(places):
            pieces.append(noise(x[2 * len(pieces) :][:2], 4)[0])
    assert torch.equal(torch.cat(pieces), found)


@pytest.mark.parametrize("placed", [False, True])
def test_copies_draw_what_single_rows_draw_one_after_the_other(placed):
    x, k = torch.tensor([[1], [2], [1], [1]]), 5
    places = torch.tensor([7, 3, 0, 12]) if placed else torch.zeros(0)
    with Placed(places):
        alone = []
        for draw in range(k):
            with Resampled(draw):
                alone.append(noise(x, 3)[0])
        for draws in (torch.arange(k), torch.arange(2), torch.arange(2, k)):
            with Resampled(draws.repeat(len(x)), copies=len(draws)):
                copies = noise(x.repeat_interleave(len(draws), 0), 3)[0]
            expected = torch.stack([alone[draw] for draw in draws], 1)
            assert torch.equal(copies.unflatten(0, expected.shape[:2]), expected)
    assert len(torch.stack(alone).unique()) == k * 4 * 3


def test_places_tell_rows_of_different_batches_apart():
    x = torch.tensor([1, 1, 2, 1, 2, 2])[:, None]
    with Placed(torch.arange(6)):
        whole = noise(x, 2)
    for ranks, size in itertools.product((1, 2, 4), (1, 2, 3)):
        found = torch.empty_like(whole)
        for rank in range(ranks):
            for places in torch.arange(rank, 6, ranks).split(size):
                with Placed(places):
                    found[:, places] = noise(x[places], 2)
        assert torch.equal(found, whole)
    with Placed(torch.arange(3)):  # no places of these rows
        assert torch.equal(noise(x, 2), noise(x, 2))
        assert len(noise(x, 2).unique()) == 12


def test_uniform_numbers_are_reproducible_and_spare_the_random_state():
    state, x = torch.get_rng_state(), torch.zeros(4, 1)
    with Reproducible(x):
        first = uniform_noise((4, 2), x)
    with Reproducible(x):
        assert torch.equal(uniform_noise((4, 2), x), first)
    assert torch.equal(torch.get_rng_state(), state)
    assert ((first >= 0) & (first < 1)).all()


def test_two_layers_that_draw_have_the_elbo_of_independent_noise():
    """-½ E‖A(x, u, v)‖² and two entropies; equal u and v would add a term with u·v."""
    mix = LULinear(3)
    with torch.no_grad():
        mix.upper += torch.tensor([[0.0, 0.5, -1.0], [0.0, 0.0, 2.0], [0.0, 0.0, 0.0]])
    layers = [Augment(1, 1, density=Normal), Augment(2, 1, density=Normal), mix]
    flow = Flow(Chain(layers)).double().eval()
    x = torch.full((N, 1), 0.7, dtype=torch.float64)
    with torch.no_grad():
        found = flow.log_prob(x)
    columns = (mix._factors()[0] @ mix._factors()[1]).square().sum(0)
    squares = columns @ torch.tensor([0.49, 1.0, 1.0], dtype=torch.float64)
    expected = -0.5 * squares - 1.5 * math.log(2 * math.pi) + 1 + math.log(2 * math.pi)
    assert (found.mean() - expected).abs() < 4 * found.std() / N**0.5
    assert found.std() > 1


def test_every_position_draws_its_own_noise():
    """Also below a chain, whose rows have several positions; equal ones have independent noise."""
    maps = PerPosition(Chain([Augment(1, 1), AffineCoupling(2)]), (2, 3))
    flow = Flow(Chain([maps])).eval()
    x = torch.zeros(N // 10, 1, 2, 3)
    z = flow.encode(x)
    assert torch.equal(flow.encode(x[:1])[0], z[0])
    noise = z[:, 1].flatten(1)
    assert len(noise.unique()) > noise.numel() - 10
    assert torch.corrcoef(noise.T).fill_diagonal_(0).abs().max() < 4 / (N / 10) ** 0.5
    assert flow.log_prob(x).isfinite().all()
    refused = pytest.raises(ShapeError, match=r"6000 .* for 1000 rows of data in 2 parts each")
    with refused, Reproducible(x), Divided(2):
        uniform_noise((6000, 1), x)


def with_affine(*layers, size=1):
    return Flow(Chain([*layers, ElementwiseAffine(size)]))


BOUNDS = {
    "integers": (lambda: with_affine(Dequantize(1, 3), Logit(1)), 3),
    "bits": (lambda: with_affine(VariationalDequantize(1, 2), Logit(1)), 2),
    "binary category": (lambda: with_affine(Argmax([2], encoding="binary")), 2),
    "three categories": (lambda: with_affine(Argmax([3], encoding="binary"), size=2), 3),
}


@pytest.mark.parametrize(("build", "values"), BOUNDS.values(), ids=BOUNDS)
@torch.no_grad()
def test_bounds_of_equal_rows_average_out(build, values):
    """Beside noise from the global state, and the log-probability, an integral over latents."""
    flow = make(build, strength=0.2)
    dimensions = flow.latent_shape[0]
    steps = 20_000 if dimensions == 1 else 400
    line = (torch.arange(steps, dtype=torch.float64) + 0.5) * (40 / steps) - 20
    z = torch.cartesian_prod(*[line] * dimensions).reshape(-1, dimensions)
    x, masses = flow.decode(z)[:, 0], flow.base.log_prob(z).exp() * (40 / steps) ** dimensions
    assert masses.sum() == pytest.approx(1, abs=1e-6)
    for value in range(values):
        row = torch.tensor([[float(value)]], dtype=torch.float64)
        torch.manual_seed(value)
        fresh = flow.train().log_prob(row.expand(4 * N, 1))
        found = flow.eval().log_prob(row.expand(N, 1))
        error = found.std() / N**0.5
        assert 0 < error < 0.12
        assert (found.mean() - fresh.mean()).abs() < 4 * error * (5 / 4) ** 0.5
        assert found.mean() < masses[x == value].sum().log() + 4 * error
        assert len(found.unique()) > 0.99 * N


@torch.no_grad()
def test_orders_of_equal_sets_average_out():
    flow = make(lambda: with_affine(StochasticPermutation(3), size=3)).eval()
    x = torch.tensor([[0.3, -1.0, 2.0]], dtype=torch.float64)
    base = Flow(flow.transform.transforms[1])
    orders = torch.tensor(list(itertools.permutations(range(3))))
    every = base.log_prob(x[0][orders])
    found = flow.log_prob(x.expand(N, 3))
    assert (found.mean() - every.mean()).abs() < 4 * found.std() / N**0.5
    for value in every:  # each order in a sixth of the rows
        share = ((found - value).abs() < 1e-9).double().mean()
        assert share == pytest.approx(1 / 6, abs=4 * (5 / 36 / N) ** 0.5)
