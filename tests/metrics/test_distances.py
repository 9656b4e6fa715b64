"""Distances between two sets of points, against closed forms and scipy."""

from itertools import combinations
from types import ModuleType

import numpy as np
import pytest
import torch
from scipy.linalg import sqrtm
from scipy.spatial.distance import cdist, pdist
from scipy.stats import wasserstein_distance
from torch import Tensor, nn

from lightning_flows import metrics
from lightning_flows.core.errors import ConfigError, DataError, ShapeError
from lightning_flows.metrics import (
    FrechetDistance,
    frechet_distance,
    gaussian_frechet_distance,
    mmd,
    sliced_wasserstein,
)
from lightning_flows.metrics.mean import StandardError
from lightning_flows.metrics.samples import TwoSampleMetric


def points(seed: int, n: int, d: int) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    mix = torch.randn(d, d, generator=generator)
    return torch.randn(n, d, generator=generator) @ mix + torch.randn(d, generator=generator)


def test_frechet_is_the_formula_with_the_square_root_of_scipy() -> None:
    x, y = points(0, 200, 5), points(1, 300, 5)
    first, second = (np.cov(z.double().numpy().T) for z in (x, y))
    shift = (x.double().mean(0) - y.double().mean(0)).square().sum()
    expected = float(shift) + np.trace(first + second - 2 * sqrtm(first @ second).real)
    assert float(frechet_distance(x, y, standardize=False)) == pytest.approx(expected, rel=1e-9)


def test_frechet_of_gaussians_that_share_axes_has_a_closed_form() -> None:
    s, t = torch.tensor([3.0, 1.0, 0.0, 1e-6]), torch.tensor([1.0, 0.0, 0.0, 2e-6])
    shift = torch.tensor([0.0, 2.0, 0.0, 0.0])
    rotation = torch.linalg.qr(points(2, 4, 4).double()).Q
    first, second = (rotation @ torch.diag(z.double().square()) @ rotation.mT for z in (s, t))
    distance = gaussian_frechet_distance(shift, first, torch.zeros(4), second)
    assert float(distance) == pytest.approx(4 + 4 + 1 + 1e-12, abs=1e-7)
    assert float(gaussian_frechet_distance(shift, first, shift, first)) < 1e-7


def test_frechet_is_in_standard_deviations_of_the_data() -> None:
    x, y, scale = points(3, 100, 3), points(4, 80, 3), torch.tensor([1.0, 1e3, 1e-3])
    by_hand = frechet_distance(
        (x - y.mean(0)) / y.std(0), (y - y.mean(0)) / y.std(0), standardize=False
    )
    assert float(frechet_distance(x, y)) == pytest.approx(float(by_hand), rel=1e-5)
    assert float(frechet_distance(x * scale, y * scale)) == pytest.approx(float(by_hand), rel=1e-5)
    y[:, 1] = 0.1
    with pytest.raises(DataError, match=r"1 of 3 features are constant over the data \(first: 1\)"):
        frechet_distance(x, y)
    assert frechet_distance(x, y, standardize=False).isfinite()


def test_frechet_over_batches_with_features() -> None:
    x, y = points(5, 90, 6).view(-1, 2, 3), points(6, 70, 6).view(-1, 2, 3)
    network = nn.Sequential(nn.Flatten(), nn.Linear(6, 4))
    metric = FrechetDistance(4, features=network)
    for part in x.split(13):
        metric.update(part, real=False)
    for part in y.split(19):
        metric.update(part, real=True)
    expected = frechet_distance(network(x), network(y))
    assert float(metric.compute()) == pytest.approx(float(expected), rel=1e-8)
    with pytest.raises(ShapeError, match="got 6 features; dimension is 4"):
        FrechetDistance(4).update(x, real=True)
    metric.reset()
    metric.update(x[:1], real=False)
    with pytest.raises(ShapeError, match="got 1 samples; at least 2"):
        metric.compute()


@pytest.mark.parametrize(("n", "m"), [(30, 30), (12, 35), (1, 7)])
def test_on_a_line_the_sliced_distance_is_the_wasserstein_distance(n: int, m: int) -> None:
    x, y = points(7, n, 1), points(8, m, 1)
    first = float(sliced_wasserstein(x, y, directions=3, p=1))
    assert first == pytest.approx(wasserstein_distance(x[:, 0], y[:, 0]), rel=1e-9)
    # every point n m times over, so that both sets are of one size
    repeated = [z.double()[:, 0].repeat(size).sort().values for z, size in ((x, m), (y, n))]
    second = (repeated[0] - repeated[1]).square().mean().sqrt()
    assert float(sliced_wasserstein(x, y, directions=3)) == pytest.approx(float(second), rel=1e-9)


def test_the_sliced_distance_of_a_shift_is_its_length_over_the_root_of_the_dimension() -> None:
    x, shift = points(9, 50, 4), torch.tensor([1.0, -2.0, 0.0, 2.0])
    state = torch.get_rng_state()
    distance = sliced_wasserstein(x + shift, x, directions=20_000)
    assert float(distance) == pytest.approx(3 / 2, rel=0.01)
    assert torch.equal(torch.get_rng_state(), state)
    with pytest.raises(ConfigError, match=r"p is 0\.5"):
        sliced_wasserstein(x, x, p=0.5)


def naive_mmd(x: Tensor, y: Tensor) -> float:
    first, second = x.double().numpy(), y.double().numpy()
    distances = np.sort(pdist(np.concatenate([first, second])))
    median = distances[(len(distances) - 1) // 2]

    def kernel(a: np.ndarray, b: np.ndarray) -> np.ndarray:
        squares = cdist(a, b, "sqeuclidean")
        return sum(np.exp(-squares / (2 * (median * s) ** 2)) for s in (0.5, 1, 2)) / 3

    def off_diagonal(k: np.ndarray) -> float:
        return float(k[~np.eye(len(k), dtype=bool)].mean())

    cross = kernel(first, second).mean()
    return off_diagonal(kernel(first, first)) + off_diagonal(kernel(second, second)) - 2 * cross


def test_mmd_is_the_sum_over_pairs(monkeypatch: pytest.MonkeyPatch) -> None:
    x, y = 1e4 + points(10, 23, 3), 1e4 + points(11, 17, 3)
    expected = pytest.approx(naive_mmd(x, y), rel=1e-7)
    assert float(mmd(x, y)) == expected
    module: ModuleType = __import__("sys").modules["lightning_flows.metrics.mmd"]
    monkeypatch.setattr(module, "CHUNK", 4)
    assert float(mmd(x, y)) == expected


def test_mmd_is_unbiased() -> None:
    """Over all ways to part the same points in two sets, the mean is 0."""
    both = points(12, 8, 2)
    values = []
    for chosen in combinations(range(8), 3):
        mask = torch.zeros(8, dtype=torch.bool)
        mask[list(chosen)] = True
        values.append(float(mmd(both[mask], both[~mask])))
    assert abs(np.mean(values)) < 1e-12
    assert np.std(values) > 0.01


def test_mmd_needs_a_bandwidth_where_points_coincide() -> None:
    with pytest.raises(DataError, match="give bandwidth"):
        mmd(torch.zeros(5, 2), torch.zeros(5, 2))
    assert mmd(torch.zeros(5, 2), torch.zeros(5, 2), bandwidth=1.0) == 0
    with pytest.raises(ConfigError, match="accepted are positive"):
        mmd(torch.zeros(5, 2), torch.zeros(5, 2), scales=(0.0, 1.0))


@pytest.mark.parametrize("distance", [frechet_distance, sliced_wasserstein, mmd])
def test_points_that_are_not_finite_show_and_wrong_shapes_are_refused(distance: object) -> None:
    assert callable(distance)
    for bad in (torch.nan, torch.inf):
        x = points(13, 10, 2)
        x[3, 1] = bad
        assert not distance(x, points(14, 9, 2)).isfinite()
    with pytest.raises(ShapeError, match=r"samples have shape \(10, 2\) and data \(9, 3\)"):
        distance(points(13, 10, 2), points(14, 9, 3))


@pytest.mark.parametrize("name", ["SlicedWasserstein", "MaximumMeanDiscrepancy"])
def test_distances_over_batches(name: str) -> None:
    x, y = points(15, 40, 4).view(-1, 2, 2), points(16, 30, 4).view(-1, 2, 2)
    metric = getattr(metrics, name)()
    for part in x.split(7):
        metric.update(part, real=False)
    for part in y.split(8):
        metric.update(part, real=True)
    function = {"SlicedWasserstein": sliced_wasserstein, "MaximumMeanDiscrepancy": mmd}[name]
    assert float(metric.compute()) == pytest.approx(float(function(x, y)), rel=1e-9)
    metric.reset()
    assert metric.samples == metric.data == []


@pytest.mark.parametrize("name", ["SlicedWasserstein", "MaximumMeanDiscrepancy"])
def test_standard_errors_are_the_spread_over_other_points_and_directions(name: str) -> None:
    generator = torch.Generator().manual_seed(17)
    values, errors = [], []
    for seed in range(150):
        few = {"directions": 8, "seed": seed} if name == "SlicedWasserstein" else {"bandwidth": 1.0}
        metric = getattr(metrics, name)(**few)
        metric.update(torch.randn(60, 2, generator=generator), real=False)
        stretched = torch.tensor([3.0, 1.0]) * torch.randn(90, 2, generator=generator) + 1
        metric.update(stretched, real=True)
        values.append(float(metric.compute()))
        errors.append(float(metric.standard_error()))
    spread = np.std(values, ddof=1)
    assert np.mean(errors) == pytest.approx(spread, rel=4 / (2 * 149) ** 0.5)
    with pytest.raises(ConfigError, match="groups is 1"):
        metric.standard_error(groups=1)
    with pytest.raises(ShapeError, match=r"Came 60 samples .* from 61 groups"):
        metric.standard_error(groups=61)


class Shift(TwoSampleMetric):
    """Difference of means, of which the jackknife is the textbook's standard error."""

    def distance(self, samples: Tensor, data: Tensor) -> Tensor:
        return samples.mean() - data.mean()


def test_one_group_a_point_gives_the_standard_error_of_a_mean() -> None:
    x, y = 5 + points(20, 12, 1), 30 * points(21, 12, 1)
    metric = Shift()
    metric.update(x, real=False)
    metric.update(y, real=True)
    expected = float((x - y).double().std() / 12**0.5)
    assert float(metric.standard_error(groups=12)) == pytest.approx(expected, rel=1e-6)
    for few, many in ((False, True), (True, False)):  # either set may be the smaller one
        metric.reset()
        metric.update(x[:11], real=few)
        metric.update(y, real=many)
        with pytest.raises(ShapeError, match=r"from 12 groups at least 12 of each"):
            metric.standard_error(groups=12)


@pytest.mark.parametrize("scale", [1.0, 5.0, 30.0])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_standard_errors_keep_their_digits_far_from_zero(scale: float, dtype: torch.dtype) -> None:
    offset = scale * (1e3 if dtype == torch.float32 else 1e9)
    drawn = torch.randn(1000, generator=torch.Generator().manual_seed(18), dtype=torch.float64)
    x = (offset + drawn).to(dtype)
    metric = StandardError()
    for part in x.split(7):
        metric.update(part)
    expected = float(x.double().std() / 1000**0.5)
    assert float(metric.compute()) == pytest.approx(expected, rel=2e-3)
    assert StandardError()(x[:1]).isnan()


def test_half_precision_counts_all_points() -> None:
    x = torch.randn(1001, generator=torch.Generator().manual_seed(19)).bfloat16()
    before = torch.get_default_dtype()
    torch.set_default_dtype(torch.bfloat16)
    try:
        metric = StandardError()
        metric.update(x)
    finally:
        torch.set_default_dtype(before)
    assert float(metric.compute()) == pytest.approx(float(x.double().std() / 1001**0.5), rel=1e-3)
