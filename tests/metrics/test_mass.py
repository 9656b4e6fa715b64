"""Masses of exp(-loss), beside closed forms and grids."""

import math
from collections.abc import Callable
from functools import partial

import pytest
import torch
from torch import Tensor
from torch.distributions import Laplace, Normal, StudentT

from lightning_flows import FreeFormFlow, PaddedFlow, bases
from lightning_flows.core.errors import ConfigError, DataError, ShapeError
from lightning_flows.flows import RealNVP
from lightning_flows.metrics import Mass, log_mass
from lightning_flows.metrics.proposal import draws_around
from lightning_flows.nets import MLPDecoder, MLPEncoder

LAWS = {"normal": Normal(0.0, 1.0), "Laplace": Laplace(0.0, 1.0), "t": StudentT(4.0)}


def cloud(n: int, size: int, seed: int = 0) -> Tensor:
    return torch.randn(n, size, generator=torch.Generator().manual_seed(seed))


def loss_of(law: torch.distributions.Distribution, factor: float = 1.0) -> Callable[..., Tensor]:
    return lambda x: -law.log_prob(x).sum(1) - math.log(factor)


@pytest.mark.parametrize("scale", [1.0, 5.0, 30.0])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_a_fraction_of_a_normal_has_that_mass(scale, dtype):
    state = torch.get_rng_state()
    target = Normal(torch.tensor([100.0, 0.0, -scale], dtype=dtype), scale)
    x = target.mean + scale * cloud(200, 3).to(dtype)
    found = log_mass(lambda x: 0.3 - target.log_prob(x).sum(1), x, samples=20_000)
    assert found.log_mass == pytest.approx(-0.3, abs=4 * found.standard_error)
    assert found.value == pytest.approx(math.exp(found.log_mass))
    assert 0 < found.standard_error < 0.02
    assert 5000 < found.effective_samples < 20_000
    assert found.nan_share == 0
    assert torch.equal(torch.get_rng_state(), state)


@pytest.mark.parametrize("law", LAWS)
@pytest.mark.parametrize("size", [1, 2, 5, 10])
def test_standard_errors_cover_the_mass_and_excess_is_told_from_none(size, law):
    """Over 20 seeds; mass 1 is above 1 at none of them, mass 2 at all."""
    x = cloud(400, size)
    for factor, seeds in ((1.0, range(20)), (2.0, range(20, 40)), (5.0, [40]), (1e-4, [41])):
        loss = loss_of(LAWS[law], factor)
        found = [log_mass(loss, x, samples=2500, seed=seed) for seed in seeds]
        off = [abs(mass.log_mass - math.log(factor)) / mass.standard_error for mass in found]
        assert sum(z > 3 for z in off) <= 1
        assert len(off) == 1 or 0.5 < sum(off) / len(off) < 1.2, "errors are of another size"
        assert {mass.exceeds_one for mass in found} == {factor > 1}
        assert sum(mass.log_lower > math.log(factor) for mass in found) <= 1


@pytest.mark.parametrize("unit", [1e-30, 1e-8, 30.0])
def test_units_of_the_data_change_nothing(unit):
    """Nor does a column that is 1000 times as wide as another."""
    scale = unit * torch.tensor([1.0, 1e-3], dtype=torch.float64)
    target = Normal(torch.zeros(2).double(), scale)
    found = log_mass(loss_of(target), scale * cloud(200, 2).double(), samples=2000)
    assert found.log_mass == pytest.approx(0, abs=4 * found.standard_error)
    assert found.effective_samples > 500


@pytest.mark.parametrize("width", [0.003, 0.05, 0.3, 1.0])
def test_mass_beside_data_on_a_line_is_found(width):
    """Data have no extent in two of three directions, the density has."""
    x = cloud(300, 1) * torch.tensor([1.0, 2.0, -1.0])
    target = torch.distributions.MultivariateNormal(
        torch.zeros(3), torch.outer(x[0], x[0]) / x[0, 0] ** 2 + width**2 * torch.eye(3)
    )
    found = log_mass(lambda x: -target.log_prob(x), x, samples=10_000)
    assert found.log_mass == pytest.approx(0, abs=4 * found.standard_error)
    assert found.standard_error < 0.1


def test_standard_errors_are_the_spread_over_seeds():
    x, loss = cloud(100, 2, 1), loss_of(Normal(0.0, 1.0))
    runs = [log_mass(loss, x, samples=500, seed=seed) for seed in range(100)]
    values = torch.tensor([run.value for run in runs])
    errors = torch.tensor([run.value * run.standard_error for run in runs])
    assert values.std() == pytest.approx(errors.mean().item(), rel=4 / 198**0.5)
    assert values.mean() == pytest.approx(1, abs=4 * values.std().item() / 10)


@pytest.mark.parametrize("shift", [-1e4, 1e4])
@pytest.mark.parametrize("bounds", [None, [(-9.0, 9.0)] * 2])
def test_no_loss_is_too_large(shift, bounds):
    x = cloud(200, 2).double()
    loss = loss_of(Normal(torch.zeros(2).double(), 1.0))
    found = log_mass(lambda x: loss(x) + shift, x, samples=2000, bounds=bounds)
    plain = log_mass(loss, x, samples=2000, bounds=bounds)
    assert found.log_mass == pytest.approx(plain.log_mass - shift, abs=1e-6)
    assert found.standard_error == pytest.approx(plain.standard_error, abs=1e-6)
    assert found.exceeds_one == (shift < 0)
    assert found.value == (math.inf if shift < 0 else 0)


@pytest.mark.parametrize("constant", [0.0, 3.0])
@pytest.mark.parametrize("size", [1, 2, 3])
def test_mass_without_end_exceeds_one(size, constant):
    """Few draws far out are all of the weight, so that the standard error says nothing."""
    for seed in range(5):
        found = log_mass(
            lambda x: torch.full((len(x),), constant), cloud(200, size), samples=10_000, seed=seed
        )
        assert found.exceeds_one
        assert 0 < found.log_lower < found.log_mass


def test_a_spike_exceeds_one_though_few_draws_hit_it():
    def loss(x: Tensor) -> Tensor:
        return torch.where(x.norm(dim=1) < 0.05, -40.0, 20.0)

    found = log_mass(loss, cloud(200, 2), samples=5000)
    expected = 40 + math.log(math.pi * 0.05**2)
    assert found.effective_samples < 20
    assert found.log_mass == pytest.approx(expected, abs=4 * found.standard_error)
    assert found.exceeds_one


@pytest.mark.parametrize("bounds", [None, [(-9.0, 9.0)] * 2])
def test_losses_that_are_not_finite(bounds):
    x = cloud(200, 2)
    plain = loss_of(Normal(0.0, 1.0))

    def mass(elsewhere: float, *, everywhere: bool = False) -> Mass:
        def loss(x: Tensor) -> Tensor:
            return torch.where((x[:, 0] > 0) | everywhere, elsewhere, plain(x))

        return log_mass(loss, x, samples=10_001, bounds=bounds)

    for elsewhere in (math.inf, math.nan):
        found = mass(elsewhere)
        assert found.value == pytest.approx(0.5, abs=4 * found.standard_error * found.value)
        assert (0.45 < found.nan_share < 0.55) == math.isnan(elsewhere)
        found = mass(elsewhere, everywhere=True)
        assert found[:3] == (-math.inf, math.inf, 0)
        assert not found.exceeds_one
    found = mass(-math.inf)
    assert found.log_mass == found.value == math.inf
    assert found.exceeds_one
    assert not math.isnan(found.standard_error)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("size", [1, 2])
def test_a_grid_gives_the_mass_within_its_bounds(size, dtype):
    inside = math.erf(3 / math.sqrt(2)) ** size
    for scale in (1.0, 5.0, 30.0):
        for factor in (1.0, 2.0, 1e-4):
            loss = loss_of(Normal(torch.zeros(size, dtype=dtype), scale), factor)
            bounds = [(-3 * scale, 3 * scale)] * size
            found = log_mass(loss, torch.zeros(1, size, dtype=dtype), bounds=bounds, samples=10_000)
            exact = math.log(factor * inside)
            assert found.log_mass == pytest.approx(exact, abs=max(found.standard_error, 1e-5))
            assert found.standard_error < 1e-3
            assert found.exceeds_one == (factor == 2)


def test_the_error_of_a_grid_says_that_it_is_too_coarse():
    """Also of an even number of points, and of a density whose bounds are no zeros."""
    target = Normal(torch.tensor([0.02, -0.01]).double(), 0.05)
    for samples in (400, 900, 2000, 5000):
        found = log_mass(
            loss_of(target), torch.zeros(1, 2).double(), bounds=[(-2, 2)] * 2, samples=samples
        )
        assert abs(found.value - 1) <= found.standard_error * found.value + 1e-6
        assert not found.exceeds_one
    line = torch.distributions.Exponential(torch.ones(1).double(), validate_args=False)
    found = log_mass(loss_of(line), torch.zeros(1, 1).double(), bounds=[(0, 2)], samples=100)
    exact = 1 - math.exp(-2)
    assert found.value == pytest.approx(exact, abs=found.standard_error)
    assert found.value == pytest.approx(exact, rel=1e-3)


@pytest.mark.parametrize("size", [1, 3])
def test_draws_have_the_density_that_is_given_with_them(size):
    """Its integral is 1, and the mean of 1 / density over draws inside a box is its volume."""
    x = 5 * cloud(1000, size).double().cumsum(1) + 1000
    draws, log_density = draws_around(x, 50_000)
    low, high = x.quantile(0.1, dim=0), x.quantile(0.9, dim=0)
    inside = ((draws > low) & (draws < high)).all(1)
    terms = inside * (-log_density).exp() / (high - low).prod()
    assert terms.mean() == pytest.approx(1, abs=4 * float(terms.std()) / 50_000**0.5)
    assert terms.std() / 50_000**0.5 < 0.02
    other = draws_around(x, 50_000, seed=1)[0]
    assert not torch.equal(draws, other)


@torch.no_grad()
def test_the_ambient_density_has_mass_1_where_fibers_are_flat_and_meet_what_they_decode_to():
    """Linear flows with orthogonal and with oblique fibers have it; by grids and closed forms.

    Not so one whose decoder halves the encoder's coordinate, and one whose fibers are bent.
    """
    torch.manual_seed(0)
    masses = {}
    linear = {"encoder": partial(MLPEncoder, hidden=()), "decoder": partial(MLPDecoder, hidden=())}
    for name in ("orthogonal", "oblique", "halved", "bent"):
        if name == "bent":
            torch.manual_seed(2)
            ambient = partial(RealNVP, layers=3, hidden=(8,), activation="tanh")
            flow = PaddedFlow(2, latent_features=1, ambient=ambient, prior=bases.Normal).double()
            for parameter in flow.parameters():
                parameter += 0.4 * torch.randn_like(parameter)
        else:
            flow = FreeFormFlow(2, latent_features=1, prior=bases.Normal, **linear).double()
            encode, decode = (
                next(m for m in net.modules() if isinstance(m, torch.nn.Linear))
                for net in (flow.encoder, flow.decoder)
            )
            encode.weight.copy_(torch.tensor([[0.6, 0.8]]))
            along = {"orthogonal": [0.6, 0.8], "oblique": [1.0, 0.5], "halved": [0.3, 0.4]}
            decode.weight.copy_(torch.tensor(along[name])[:, None])
            encode.bias.zero_()
            decode.bias.zero_()

        def loss(x: Tensor, flow: PaddedFlow | FreeFormFlow = flow) -> Tensor:
            return -flow.ambient_log_prob(x, beta=2.0)

        x = flow.sample(500) + 0.5 * torch.randn(500, 2, dtype=torch.float64)
        found = log_mass(loss, x, samples=40_000)
        expected = log_mass(loss, x, samples=90_601, bounds=[(-9, 9)] * 2)
        assert found.value == pytest.approx(
            expected.value, abs=4 * found.standard_error * found.value + 1e-3
        )
        masses[name] = found.value, found.standard_error
    for name, mass in {"orthogonal": 1, "oblique": 1, "halved": 2**-0.5}.items():
        value, error = masses[name]
        assert value == pytest.approx(mass, rel=4 * error)
    value, error = masses["bent"]
    assert abs(value - 1) > 10 * error


def test_what_gives_no_estimate_is_refused():
    loss = loss_of(Normal(0.0, 1.0))
    with pytest.raises(ShapeError, match="data have 2 points of 2 entries"):
        log_mass(loss, torch.zeros(2, 2))
    with pytest.raises(ShapeError, match="one loss a point"):
        log_mass(lambda x: x, torch.randn(9, 2), samples=9)
    with pytest.raises(ConfigError, match="samples is 1;"):
        log_mass(loss, torch.randn(9, 2), samples=1)
    with pytest.raises(ConfigError, match="samples is 8; accepted are integers from 9"):
        log_mass(loss, torch.randn(9, 2), samples=8, bounds=[(0, 1)] * 2)
    for bounds in ([(0, 1)], [(0, 1)] * 3, [(0, 1), (1, 1)], [(0, 1), (0, math.inf)]):
        with pytest.raises(ConfigError, match="for events of 2 entries; accepted are finite pairs"):
            log_mass(loss, torch.randn(9, 2), bounds=bounds)
    for wrong in (torch.ones(9, 2), torch.full((9, 2), math.nan), torch.full((9, 2), math.inf)):
        with pytest.raises(DataError, match="data are not finite, or all points are the same"):
            log_mass(loss, wrong)
    with pytest.raises(DataError, match="data are of type torch"):
        log_mass(loss, torch.arange(18).view(9, 2))
