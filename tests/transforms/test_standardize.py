import pytest
import torch
from torch.func import jacrev, jvp

from lightning_flows.core.errors import ConfigError, DataError
from lightning_flows.core.recipe import build_part, to_recipe
from lightning_flows.transforms.bijections.standardize import Standardize


def rows(n=50):
    generator = torch.Generator().manual_seed(1)
    scale = torch.tensor([1.0, 20.0, 0.1], dtype=torch.float64)
    return torch.randn(n, 3, generator=generator, dtype=torch.float64) * scale + 7


def fitted():
    transform = Standardize(3).double()
    transform.fit(rows())
    return transform


def test_fitted_data_has_zero_mean_and_unit_variance():
    z, _ = fitted().encode(rows())
    assert torch.allclose(z.mean(0), torch.zeros(3).double(), atol=1e-12)
    assert torch.allclose(z.std(0), torch.ones(3).double())


def test_pieces_give_the_statistics_of_the_whole():
    transform = Standardize(3).double()
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
    assert torch.equal(Standardize(3).encode(rows().float())[0], rows().float())
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
        Standardize(3).double().fit(x)
    with pytest.raises(DataError, match=r"constant entries \(1, 0\), \(1, 1\), \(1, 2\); drop"):
        Standardize((2, 3)).fit(torch.stack([rows(), x[:1].expand(50, 3)], 1))
    transform = Standardize(3, minimum_scale=0.5).double()
    transform.fit(x)
    assert transform.std[1] == 0.5
    assert transform.std[2] == 0.5
    assert transform.std[0] > 0.5


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_refusals(value):
    x = rows()
    x[3, 2] = value
    with pytest.raises(DataError, match="NaN or infinite"):
        Standardize(3).double().fit(x)
    with pytest.raises(DataError, match="at least 2 rows"):
        Standardize(3).fit(rows(1))
    with pytest.raises(DataError, match="at least 2 rows to fit; came 0"):
        Standardize(3).fit([rows(0)])
    with pytest.raises(ConfigError, match="minimum_scale is -1"):
        Standardize(3, minimum_scale=-1)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
@pytest.mark.parametrize(("offset", "scale"), [(0, 1e-30), (1.7e9, 100), (5, 30), (-3e12, 1e-2)])
def test_digits_survive_a_mean_that_is_large_beside_the_spread(offset, scale, dtype):
    noise = torch.randn(2, 1000, 2, generator=torch.Generator().manual_seed(0)).double()
    x = offset + scale * noise[0]
    transform = Standardize(2)
    transform.fit(x.split(300))
    transform.to(dtype)  # statistics keep their type
    rounding = 1e-15 * abs(offset) / scale  # of x itself
    z, contribution = transform.encode(x)
    expected = (noise[0] - noise[0].mean(0)) / noise[0].std(0)
    torch.testing.assert_close(z, expected, rtol=1e-6, atol=1e-12 + rounding)
    log_scale = noise[0].std(0).log().sum() + 2 * torch.tensor(scale).log().double()
    torch.testing.assert_close(contribution, -log_scale.expand(1000), rtol=1e-6, atol=rounding)
    again, other = transform.decode(z.to(dtype))
    assert again.dtype == torch.float64
    assert other.dtype == dtype
    error = ((again - x) / scale).abs().max()
    assert error < (1e-6 if dtype == torch.float32 else 1e-13) + 4 * rounding


def test_data_of_single_precision_come_back_in_it():
    transform = Standardize(3)
    transform.fit(rows().float())
    z, contribution = transform.encode(rows().float())
    assert {z.dtype, contribution.dtype, transform.decode(z)[0].dtype} == {torch.float32}
    z, _ = transform.encode(rows().bfloat16())
    assert z.dtype == transform.decode(z)[0].dtype == torch.bfloat16
    counts = torch.arange(12).reshape(4, 3)
    transform = Standardize(3)
    transform.fit(counts)
    assert torch.equal(transform.mean, torch.tensor([4.5, 5.5, 6.5]).double())
    assert transform.encode(counts)[0].dtype == torch.float32


def test_statistics_keep_their_type_through_casts_moves_and_states():
    transform = Standardize(3)
    transform.fit(rows())
    before = transform.state_dict()
    for change in (torch.nn.Module.half, torch.nn.Module.bfloat16, torch.nn.Module.float):
        change(transform)
        assert torch.equal(transform.mean, before["mean"])
        assert torch.equal(transform.std, before["std"])
    transform.to("cpu", torch.float16)
    assert transform.std.dtype == torch.float64
    copy = Standardize(3).float()
    copy.load_state_dict(before)
    assert copy.decode(torch.zeros(1, 3))[0].dtype == torch.float64
    del before["wide"]  # as checkpoints once were
    copy.load_state_dict({name: value.float() for name, value in before.items()})
    assert copy.decode(torch.zeros(1, 3))[0].dtype == torch.float32
    assert torch.equal(copy.mean, before["mean"].float().double())
    whole = torch.nn.Sequential(torch.nn.Linear(1, 1), fitted())
    state = {name: x for name, x in whole.state_dict().items() if "wide" not in name}
    whole.load_state_dict(state)
    with torch.device("meta"):
        empty = Standardize(3)
    assert empty.to_empty(device="cpu").mean.dtype == torch.float64


def test_a_device_without_float64_gets_float32():
    def refuse(tensor):  # as MPS does
        if tensor.dtype == torch.float64:
            raise TypeError("Cannot convert a MPS Tensor to float64 dtype")
        return tensor

    transform = fitted()._apply(refuse)
    assert transform.mean.dtype == transform.std.dtype == torch.float32
    assert torch.allclose(transform.encode(rows())[0].mean(0), torch.zeros(3).double(), atol=1e-4)
    assert transform.double().mean.dtype == torch.float64


def test_rounding_alone_is_no_spread():
    x = torch.full((100, 1), 0.3, dtype=torch.float64)
    x[::2] = 0.1 * 3  # differs from 0.3 by one unit in the last place
    for data in (x, (1.7e9 + 50 * rows()[:, :1]).float()):
        with pytest.raises(DataError, match="constant columns 0"):
            Standardize(1).fit(data)
    Standardize(1).fit(1.7e9 + 50 * rows()[:, :1])
    for scale in (1e-200, 1e200):
        with pytest.raises(DataError, match="deviations as large or small as those of columns 0"):
            Standardize(1).fit(scale * rows()[:, :1])
    with pytest.raises(DataError, match="complex data"):
        Standardize(1).fit(torch.ones(5, 1, dtype=torch.complex64))
