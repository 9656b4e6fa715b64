"""The iterative method of `components` against decompositions of the whole Jacobian."""

import math

import pytest
import torch
from torch import Tensor

from lightning_flows.components import Components, components


def linear_pair(scales: Tensor, data: int, seed: int = 0):
    """A linear decoder with these singular values, its left inverse, and its axes."""
    generator = torch.Generator().manual_seed(seed)
    axes, rotation = (
        torch.linalg.qr(torch.randn(n, len(scales), generator=generator, dtype=scales.dtype)).Q
        for n in (data, len(scales))
    )
    matrix = axes @ torch.diag(scales) @ rotation
    inverse = torch.linalg.pinv(matrix)
    return (lambda x: x @ inverse.T, lambda z: z @ matrix.T), axes


def angle(found: Components, axes: Tensor) -> Tensor:
    """Largest principal angle to the space of the first of some axes (columns), radians."""
    mine = found.axes.double()
    true = axes[..., : mine.shape[1]].double()
    return torch.linalg.matrix_norm(mine - mine @ true @ true.mT, ord=2).asin()


WEIGHTS = torch.randn(2, 60, 60, generator=torch.Generator().manual_seed(3)) / 6


def bend(z: Tensor) -> Tensor:
    """A decoder of 40 latents to 60 dimensions whose Jacobian depends on the place."""
    first, second = WEIGHTS.to(z.dtype)
    decay = 0.9 ** torch.arange(40, dtype=z.dtype)
    return ((2 * z * decay) @ first[:40]).tanh() @ second + (z * decay) @ first[:40]


@pytest.mark.parametrize(("data", "latents"), [(60, 60), (90, 60)])
def test_a_linear_decoder_gives_its_widest_axes(data: int, latents: int) -> None:
    scales = 3 * 0.93 ** torch.arange(latents, dtype=torch.float64)
    pair, axes = linear_pair(scales, data)
    x = torch.randn(4, data, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    found = components(*pair, x, k=5, method="iterative", tolerance=1e-6, max_iterations=200)
    assert found.converged.all()
    torch.testing.assert_close(found.scales, scales[:5].expand(4, 5))
    assert angle(found, axes).max() < 1e-6
    whole = components(*pair, x, k=5, method="full")
    for name in ("axes", "directions", "coordinates", "variances", "latents"):
        torch.testing.assert_close(
            getattr(found, name), getattr(whole, name), rtol=1e-4, atol=1e-5, msg=name
        )
    # 3e-2 is four standard errors of the estimate for this spectrum
    torch.testing.assert_close(found.total, whole.total, rtol=0.3, atol=0)


@pytest.mark.parametrize("tolerance", [0.3, 0.01, 1e-4])
def test_errors_stay_below_their_bounds(tolerance: float) -> None:
    z = torch.randn(30, 40, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    found = components(
        lambda x: z, bend, bend(z), k=3, method="iterative", tolerance=tolerance, max_iterations=6
    )
    matrices = torch.func.vmap(torch.func.jacrev(lambda z: bend(z[None])[0]))(z)
    u, s, _ = torch.linalg.svd(matrices, full_matrices=False)
    wrong, turned = (found.scales / s[:, :3] - 1).abs(), angle(found, u)
    slack = 1e-9
    assert (wrong <= found.error + slack).all()
    assert (turned <= found.angle + slack).all()
    assert found.converged.any()
    assert (wrong[found.converged] <= tolerance).all()
    assert (turned[found.converged] <= tolerance).all()
    pushed = torch.einsum("bod,bkd->bko", matrices, found.directions)
    torch.testing.assert_close(pushed, found.axes * found.scales[..., None])


def test_it_says_where_it_has_not_converged() -> None:
    z = torch.randn(8, 40, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    found = components(lambda x: z, bend, bend(z), k=3, method="iterative", max_iterations=1)
    assert not found.converged.any()
    assert (found.iterations == 1).all()
    assert (found.angle > 0.01).all()
    # equal scales at k and k + 1: no space of the k widest to converge to, though scales are right
    scales = torch.tensor([5.0, 4.0, 3.0, *[3.0] * 10, *[1.0] * 47], dtype=torch.float64)
    pair, _ = linear_pair(scales, 60)
    found = components(*pair, torch.ones(1, 60).double(), k=3, method="iterative")
    assert not found.converged.any()
    assert found.angle.item() == pytest.approx(math.pi / 2)
    torch.testing.assert_close(found.scales[0], scales[:3])


def test_scales_that_lie_close_together_only_take_longer() -> None:
    generator = torch.Generator().manual_seed(0)
    near = torch.cat([torch.tensor([2.0, 1.9, 1.8]), 1.78 - torch.rand(197, generator=generator)])
    near = near.double().sort(descending=True).values
    pair, axes = linear_pair(near, 200)
    found = components(*pair, torch.ones(2, 200).double(), k=3, method="iterative")
    assert found.converged.all()
    assert angle(found, axes).max() < 0.01
    assert found.iterations.max() > 6  # the search space was compressed on the way


def test_points_do_not_depend_on_their_batch() -> None:
    z = torch.randn(20, 40, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    x = bend(z)

    def run(part: slice) -> Components:
        return components(lambda x: z[part], bend, x[part], k=3, method="iterative", chunk_size=2)

    whole = run(slice(None))
    assert whole.iterations.unique().numel() > 1
    halves = [run(slice(0, 2)), run(slice(2, None))]
    for name in vars(whole):
        parts = torch.cat([getattr(half, name) for half in halves])
        torch.testing.assert_close(parts, getattr(whole, name), rtol=1e-9, atol=1e-9, msg=name)
    other = components(lambda x: z, bend, x, k=3, method="iterative", seed=1)
    assert not torch.equal(other.axes, whole.axes)
    torch.testing.assert_close(other.scales, whole.scales, rtol=1e-2, atol=0)


@pytest.mark.parametrize("k", [4, 5])
def test_as_many_directions_as_latents_are_exact(k: int) -> None:
    scales = torch.tensor([4.0, 3.0, 2.0, 1.0, 0.5], dtype=torch.float64)
    pair, axes = linear_pair(scales, 7)
    found = components(*pair, torch.ones(2, 7).double(), k=k, method="iterative")
    assert found.converged.all()
    torch.testing.assert_close(found.scales, scales[:k].expand(2, k))
    assert angle(found, axes).max() < 1e-6
    torch.testing.assert_close(found.total, scales.square().sum().expand(2))
    assert found.explained.sum(1).max() <= 1 + 1e-12


@pytest.mark.parametrize("noise", [0.0, 0.05])
def test_the_total_is_estimated_without_bias_and_with_its_error(noise: float) -> None:
    """Points draw directions of their own, and the shrinkage is taken off each latent."""
    scales = (4 * 0.9 ** torch.arange(80, dtype=torch.float64) + noise**2).sqrt()
    pair, _ = linear_pair(scales, 80)
    x = torch.randn(300, 80, generator=torch.Generator().manual_seed(5), dtype=torch.float64)
    full = components(*pair, x[:1], noise=noise).total
    torch.testing.assert_close(full, (scales.square() - noise**2).sum()[None])
    found = components(*pair, x, k=2, method="iterative", noise=noise, max_iterations=9)
    scatter = found.total.std()
    assert abs(found.total.mean() - full) < 4 * scatter / 300**0.5
    assert 0.05 * full < scatter < 0.5 * full  # of one point; the mean of all is right within 2 %
    assert found.total_error.square().mean().sqrt() == pytest.approx(float(scatter), rel=0.2)
    torch.testing.assert_close(
        found.explained, found.variances / found.total[:, None], rtol=1e-12, atol=0
    )
    one = components(*pair, x[7:8], k=2, method="iterative", noise=noise, max_iterations=9)
    torch.testing.assert_close(one.total, found.total[7:8])


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("size", [1e-3, 1.0, 1e3])
@pytest.mark.parametrize("rank", [1, 2, 4])
def test_maps_of_low_rank_converge(rank: int, size: float, dtype: torch.dtype) -> None:
    scales = torch.zeros(60, dtype=torch.float64)
    scales[:rank] = size * 0.5 ** torch.arange(rank)
    (_, decode), axes = linear_pair(scales, 90)
    z = torch.ones(3, 60, dtype=dtype)
    matrix = decode(torch.eye(60).double()).to(dtype)
    found = components(lambda x: z, lambda z: z @ matrix, z @ matrix, k=4, method="iterative")
    assert found.converged.all()
    torch.testing.assert_close(
        found.scales, scales[:4].to(dtype).expand(3, 4), rtol=1e-4, atol=1e-5 * size
    )
    mine, true = found.axes[:, :rank].double(), axes[:, :rank]
    assert torch.linalg.matrix_norm(mine - mine @ true @ true.mT, ord=2).max() < 1e-3
    assert found.dimension.tolist() == [rank] * 3
    torch.testing.assert_close(found.total, found.scales.square().sum(1), rtol=1e-3, atol=0)


def test_bad_points_are_marked_and_the_others_go_on() -> None:
    z = torch.randn(6, 40, generator=torch.Generator().manual_seed(0))

    def decode(z: Tensor) -> Tensor:
        return bend(z) + (9 - z[:, :1]).sqrt()  # has no derivative at 9

    expected = components(lambda x: z, decode, bend(z), k=3, method="iterative")
    bad = z.clone()
    bad[2, 0], bad[4, 5] = 9, torch.nan
    found = components(lambda x: bad, decode, bend(z), k=3, method="iterative")
    assert found.converged.tolist() == [True, True, False, True, False, True]
    assert found.scales[[2, 4]].isnan().all()
    assert found.axes[[2, 4]].isnan().all()
    good = [0, 1, 3, 5]
    torch.testing.assert_close(found.scales[good], expected.scales[good])
    assert torch.equal(found.iterations[good], expected.iterations[good])


def test_the_dimension_is_a_lower_bound_where_it_reaches_k() -> None:
    scales = torch.cat([torch.tensor([3.0, 2.0, 1.0]), torch.linspace(0.09, 0.01, 30)]).double()
    pair, _ = linear_pair(scales, 40)
    x = torch.ones(1, 40).double()
    found = components(*pair, x, k=3, method="iterative", noise=0.1)
    assert found.dimension.item() == 3
    assert components(*pair, x, k=2, method="iterative", noise=0.1).dimension.item() == 2
    assert components(*pair, x, k=5, method="iterative", noise=0.1).dimension.item() == 3


def test_the_method_is_chosen_by_size() -> None:
    z = torch.randn(2, 40)
    pair = (lambda x: z, bend)
    assert (components(*pair, bend(z), k=1).iterations > 0).all()
    assert (components(*pair, bend(z), k=2).iterations == 0).all()
    assert (components(*pair, bend(z)).iterations == 0).all()
    with torch.inference_mode():
        assert components(*pair, bend(z), k=1).converged.all()
