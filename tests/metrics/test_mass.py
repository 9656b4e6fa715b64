"""Masses of densities, beside closed forms and grids."""

import math
from functools import partial

import pytest
import torch

from lightning_flows import FreeFormFlow, PaddedFlow
from lightning_flows.bases import Normal
from lightning_flows.core.errors import ConfigError, ShapeError
from lightning_flows.flows import RealNVP
from lightning_flows.metrics import density_mass
from lightning_flows.nets import MLPDecoder, MLPEncoder


@pytest.mark.parametrize("scale", [1.0, 5.0, 30.0])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_a_fraction_of_a_normal_has_that_mass(scale, dtype):
    target = torch.distributions.Normal(torch.tensor([100.0, 0.0, -scale], dtype=dtype), scale)
    state, x = (
        torch.get_rng_state(),
        100 + scale * torch.randn(200, 3, generator=torch.Generator().manual_seed(0)).to(dtype),
    )
    x = x - torch.tensor([0.0, 100.0, 100.0 + scale], dtype=dtype)
    found = density_mass(lambda x: target.log_prob(x).sum(1) - 0.3, x, n=20_000)
    assert found.value == pytest.approx(math.exp(-0.3), abs=4 * found.standard_error)
    assert 0 < found.standard_error < 0.02
    assert 2000 < found.effective < 20_000
    assert torch.equal(torch.get_rng_state(), state)


@pytest.mark.parametrize("unit", [1e-8, 1e-4, 30.0])
def test_units_of_the_data_change_nothing(unit):
    """Nor does a column that is 1000 times as wide as another."""
    scale = unit * torch.tensor([1.0, 1e-3], dtype=torch.float64)
    x = scale * torch.randn(200, 2, generator=torch.Generator().manual_seed(0)).double()
    target = torch.distributions.Normal(torch.zeros(2).double(), scale)
    found = density_mass(lambda x: target.log_prob(x).sum(1), x, n=2000)
    assert found.value == pytest.approx(1, abs=4 * found.standard_error)
    assert found.effective > 800


def test_standard_errors_are_the_spread_over_seeds():
    x = torch.randn(100, 2, generator=torch.Generator().manual_seed(1))
    runs = [density_mass(lambda x: Normal(2).log_prob(x), x, n=500, seed=s) for s in range(100)]
    values, errors = (torch.tensor([run[i] for run in runs]) for i in (0, 1))
    assert values.std() == pytest.approx(errors.mean().item(), rel=4 / 198**0.5)
    assert values.mean() == pytest.approx(1, abs=4 * values.std().item() / 10)


@torch.no_grad()
def test_the_ambient_density_has_mass_1_where_fibres_are_flat_and_meet_what_they_decode_to():
    """Linear flows with orthogonal and with oblique fibres have it; by grids and closed forms.

    Not so one whose decoder halves the encoder's coordinate, and one whose fibres are bent.
    """
    torch.manual_seed(0)
    line = torch.linspace(-9, 9, 601, dtype=torch.float64)
    grid = torch.cartesian_prod(line, line)
    masses = {}
    linear = {"encoder": partial(MLPEncoder, hidden=()), "decoder": partial(MLPDecoder, hidden=())}
    for name in ("orthogonal", "oblique", "halved", "bent"):
        if name == "bent":
            torch.manual_seed(2)
            ambient = partial(RealNVP, layers=3, hidden=(8,), activation="tanh")
            flow = PaddedFlow(2, latent_features=1, ambient=ambient, prior=Normal).double()
            for parameter in flow.parameters():
                parameter += 0.4 * torch.randn_like(parameter)
        else:
            flow = FreeFormFlow(2, latent_features=1, prior=Normal, **linear).double()
            encode, decode = (
                next(m for m in net.modules() if isinstance(m, torch.nn.Linear))
                for net in (flow.encoder, flow.decoder)
            )
            encode.weight.copy_(torch.tensor([[0.6, 0.8]]))
            along = {"orthogonal": [0.6, 0.8], "oblique": [1.0, 0.5], "halved": [0.3, 0.4]}
            decode.weight.copy_(torch.tensor(along[name])[:, None])
            encode.bias.zero_()
            decode.bias.zero_()
        density = partial(flow.ambient_log_prob, beta=2.0)
        x = flow.sample(500) + 0.5 * torch.randn(500, 2, dtype=torch.float64)
        found = density_mass(density, x, n=40_000)
        expected = density(grid).exp().sum().item() * (18 / 600) ** 2
        assert found.value == pytest.approx(expected, abs=4 * found.standard_error + 1e-3)
        masses[name] = found.value, found.standard_error
    for name, mass in {"orthogonal": 1, "oblique": 1, "halved": 2**-0.5}.items():
        value, error = masses[name]
        assert value == pytest.approx(mass, abs=4 * error)
    value, error = masses["bent"]
    assert abs(value - 1) > 10 * error


def test_too_few_points_or_draws_are_refused():
    with pytest.raises(ShapeError, match="x has 2 points of 2 entries"):
        density_mass(Normal(2).log_prob, torch.zeros(2, 2))
    with pytest.raises(ConfigError, match="n is 1"):
        density_mass(Normal(2).log_prob, torch.randn(9, 2), n=1)
