import pytest
import torch
from torch.func import jacrev, jvp

from lightning_flows.errors import ConfigError, DataError
from lightning_flows.recipe import build_part, to_recipe
from lightning_flows.transforms.standardise import Standardise


def rows(n=50):
    generator = torch.Generator().manual_seed(1)
    scale = torch.tensor([1.0, 20.0, 0.1], dtype=torch.float64)
    return torch.randn(n, 3, generator=generator, dtype=torch.float64) * scale + 7


def fitted():
    transform = Standardise(3).double()
    transform.fit(rows())
    return transform


def test_fitted_data_has_zero_mean_and_unit_variance():
    z, _ = fitted().encode(rows())
    assert torch.allclose(z.mean(0), torch.zeros(3).double(), atol=1e-12)
    assert torch.allclose(z.std(0), torch.ones(3).double())


def test_pieces_give_the_statistics_of_the_whole():
    transform = Standardise(3).double()
    transform.fit(iter(rows().split([1, 30, 19])))
    assert torch.allclose(transform.mean, fitted().mean, rtol=1e-12)
    assert torch.allclose(transform.std, fitted().std, rtol=1e-12)
    assert torch.allclose(transform.std, rows().std(0), rtol=1e-12)


def test_contribution_round_trip_and_jvp():
    transform, x = fitted(), rows(4)
    z, contribution = transform.encode(x)
    again, other = transform.decode(z)
    assert torch.allclose(again, x, rtol=0, atol=1e-12)
    assert torch.equal(contribution, other)
    for event, expected in zip(x, contribution, strict=True):
        jacobian = jacrev(lambda e: transform.encode(e[None])[0][0])(event)
        assert torch.isclose(torch.linalg.slogdet(jacobian)[1], expected)
    _, pushed = jvp(lambda e: transform.decode(e)[0], (z,), (torch.ones_like(z),))
    assert torch.allclose(pushed, transform.std.expand(4, 3))


def test_identity_until_fitted_and_statistics_travel_with_recipe_and_state():
    assert torch.equal(Standardise(3).encode(rows().float())[0], rows().float())
    transform = fitted()
    copy = build_part(to_recipe(transform)).double()
    assert not copy.fitted
    copy.load_state_dict(transform.state_dict())
    assert copy.fitted
    assert torch.equal(copy.encode(rows())[0], transform.encode(rows())[0])


def test_constant_columns_are_named_or_given_a_scale():
    x = rows()
    x[:, 1] = 1e6 + 0.1
    with pytest.raises(DataError, match="constant columns 1; drop"):
        Standardise(3).double().fit(x)
    transform = Standardise(3, minimum_scale=0.5).double()
    transform.fit(x)
    assert transform.std[1] == 0.5
    assert transform.std[2] == 0.5
    assert transform.std[0] > 0.5


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_refusals(value):
    x = rows()
    x[3, 2] = value
    with pytest.raises(DataError, match="NaN or infinite"):
        Standardise(3).double().fit(x)
    with pytest.raises(DataError, match="at least 2 rows"):
        Standardise(3).fit(rows(1))
    with pytest.raises(DataError, match="at least 2 rows to fit; came 0"):
        Standardise(3).fit([rows(0)])
    with pytest.raises(ConfigError, match="minimum_scale is -1"):
        Standardise(3, minimum_scale=-1)
