"""Von Mises densities against scipy, for concentrations from nearly none to 10,000."""

import math

import numpy as np
import pytest
import torch
from scipy import special, stats

from lightning_flows.bases import ByColumns, Normal, UniformTorus, VonMises
from lightning_flows.bases.by_columns import simplest_on
from lightning_flows.bases.circular import log_bessel
from lightning_flows.core.errors import ShapeError
from lightning_flows.core.support import POSITIVE, REAL, Columns, Interval, Torus

CONCENTRATIONS = (1e-3, 0.3, 5.0, 49.9, 50.1, 1e4)


def von_mises(loc: float, concentration: float, dtype: torch.dtype = torch.float64) -> VonMises:
    p = VonMises(1, bound=20.0).to(dtype)
    with torch.no_grad():
        raw = 20 * math.atanh(math.log(concentration) / 20)
        p.net.constant.copy_(torch.tensor([loc, raw], dtype=torch.float64))
    return p


@pytest.mark.parametrize("concentration", CONCENTRATIONS)
def test_the_density_is_scipys(concentration):
    x = torch.linspace(-3.14, 3.14, 101)[:, None]
    for dtype, tolerance in ((torch.float64, 1e-9), (torch.float32, 2e-5)):
        log_p = von_mises(0.7, concentration, dtype).log_prob(x.to(dtype))[:, None]
        expected = stats.vonmises(concentration, loc=0.7).logpdf(x.to(dtype).double())
        np.testing.assert_allclose(log_p.detach(), expected, rtol=tolerance, atol=2 * tolerance)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
def test_the_slope_of_the_normalizer_is_right_for_large_concentrations(dtype):
    k = torch.logspace(-3, 4, 200, dtype=dtype, requires_grad=True)
    log_bessel(k).sum().backward()
    wide = k.detach().double().numpy()
    expected = special.i1e(wide) / special.i0e(wide) - 1
    exact = wide < 100  # beyond, scipy's difference loses digits as well: the series of A&S 9.7
    far = -1 / (2 * wide) - 1 / (8 * wide**2) - 1 / (8 * wide**3) - 25 / (128 * wide**4)
    expected = np.where(exact, expected, far)
    np.testing.assert_allclose(k.grad, expected, rtol=1e-8 if dtype == torch.float64 else 2e-5)


@pytest.mark.parametrize("concentration", CONCENTRATIONS)
def test_samples_have_its_distribution(concentration):
    torch.manual_seed(0)
    for dtype in (torch.float64, torch.float32):
        x = von_mises(0.0, concentration, dtype).draw(20_000)[:, 0].double().detach()
        assert stats.kstest(x, stats.vonmises(concentration).cdf).pvalue > 1e-3


def test_what_stands_at_the_base_by_default():
    sets = Columns([Torus(1), REAL, Interval(0.0, 2.0)])
    p = simplest_on(sets, 3)
    assert p.support == sets
    x = torch.tensor([[3.0, 0.0, 1.0], [-3.0, 0.0, 2.5]])
    expected = -math.log(2 * math.pi) - math.log(2 * math.pi) / 2 - math.log(2)
    assert p.log_prob(x).tolist() == [pytest.approx(expected), -math.inf]
    assert isinstance(simplest_on(Torus(2), 2), UniformTorus)
    with pytest.raises(ShapeError, match=r"There is no base on \[0, inf\) by default"):
        simplest_on(POSITIVE, 2)


def test_parts_make_up_the_event():
    with pytest.raises(ShapeError, match=r"event_shape is \(3,\); the parts score \(1,\), \(1,\)"):
        ByColumns(3, [Normal(1), Normal(1)])
    with pytest.raises(ShapeError, match="densities without context"):
        ByColumns(2, [Normal(1), VonMises(1, 3)])
