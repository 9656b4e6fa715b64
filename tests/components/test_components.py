import math

import pytest
import torch
from torch import Tensor

from lightning_flows.components import ModelMaps, components
from lightning_flows.core.errors import ConfigError, ShapeError
from lightning_flows.metrics import intrinsic_dimension, spanned_dimension
from lightning_flows.transforms import Abs, Dequantize

SCALES = torch.tensor([3.0, 2.0, 1.0, 0.5, 0.2], dtype=torch.float64)


def linear_gaussian() -> tuple[Tensor, Tensor, Tensor]:
    """Axes (columns) of a Gaussian, data drawn from it, and its flow: x = matrix z."""
    generator = torch.Generator().manual_seed(0)
    axes = torch.linalg.qr(torch.randn(5, 5, generator=generator, dtype=torch.float64)).Q
    rotation = torch.linalg.qr(torch.randn(5, 5, generator=generator, dtype=torch.float64)).Q
    x = (torch.randn(40000, 5, generator=generator, dtype=torch.float64) * SCALES) @ axes.T
    return axes, x, axes @ torch.diag(SCALES) @ rotation


def warp(x: Tensor) -> Tensor:
    """A bijection of the plane that mixes and stretches; its inverse is `unwarp`."""
    a, b = x.unbind(1)
    a = a * (1 + 0.5 * torch.tanh(b)) + b.sin()
    return torch.stack([a, b * torch.exp(0.3 * torch.tanh(a))], 1)


def unwarp(z: Tensor) -> Tensor:
    a, b = z.unbind(1)
    b = b * torch.exp(-0.3 * torch.tanh(a))
    return torch.stack([(a - b.sin()) / (1 + 0.5 * torch.tanh(b)), b], 1)


@pytest.mark.parametrize("through", ["decode", "encode"])
def test_a_linear_flow_gives_pca(through: str) -> None:
    axes, x, matrix = linear_gaussian()
    inverse = matrix.inverse()
    found = components(lambda x: x @ inverse.T, lambda z: z @ matrix.T, x[:7], through=through)
    values, pca = torch.linalg.eigh(x.T @ x / len(x))
    cosines = torch.einsum("bkd,dk->bk", found.axes, pca.flip(1)).abs()
    assert cosines.min() > math.cos(math.radians(1))
    torch.testing.assert_close(found.scales[0], values.flip(0).sqrt(), rtol=0.02, atol=0)
    signs = torch.sign(torch.einsum("bkd,dk->bk", found.axes, axes))
    torch.testing.assert_close(found.coordinates, signs * (x[:7] @ axes))
    pushed = found.directions @ matrix.T  # J v = s u
    torch.testing.assert_close(pushed, found.axes * found.scales[..., None])
    torch.testing.assert_close(found.explained[0], SCALES.square() / SCALES.square().sum())
    assert (found.axes.gather(2, found.axes.abs().argmax(2, keepdim=True)) > 0).all()


def test_the_spectrum_is_deshrunk_and_the_dimension_counted() -> None:
    _, x, matrix = linear_gaussian()
    alpha = 0.06  # 2 alpha = 0.12: the last two variances are 0.25 and 0.04
    inverse = matrix.inverse()
    pair = (lambda x: x @ inverse.T, lambda z: z @ matrix.T)
    found = components(*pair, x[:3], tikhonov=alpha, k=2)
    assert found.axes.shape == (3, 2, 5)
    torch.testing.assert_close(found.variances[0], SCALES[:2].square() - 2 * alpha)
    assert found.dimension.tolist() == [3, 3, 3]  # counted among all, not among the k returned
    assert components(*pair, x[:1], tikhonov=alpha, threshold=1.0).dimension.item() == 4
    assert components(*pair, x[:1]).dimension.item() == 5
    assert components(*pair, x[:1], relative=0.1).dimension.item() == 3
    # noise says the same by its standard deviation
    by_noise = components(*pair, x[:3], noise=math.sqrt(2 * alpha), k=2)
    torch.testing.assert_close(by_noise.variances, found.variances)
    assert torch.equal(by_noise.dimension, found.dimension)
    # the last variance is below the shrinkage, and does not count in the total
    kept = (SCALES.square() - 2 * alpha).clamp_min(0)
    torch.testing.assert_close(found.explained[0], kept[:2] / kept.sum())


UNITS = torch.tensor([100.0, 1.0, 0.01], dtype=torch.float64)
ALPHA = 1e-3


def standardized(correlation: Tensor) -> ModelMaps:
    """The best linear flow with a Tikhonov term of data whose columns have units of their own."""
    values, vectors = torch.linalg.eigh(correlation + 2 * ALPHA * torch.eye(3).double())
    generator = torch.Generator().manual_seed(3)
    turn = torch.linalg.qr(torch.randn(3, 3, generator=generator, dtype=torch.float64)).Q
    matrix = vectors @ torch.diag(values.sqrt()) @ turn
    return ModelMaps(
        encode=lambda y: y @ matrix.inverse().T,
        decode=lambda z: z @ matrix.T,
        to_model=lambda x: (x - 5) / UNITS,
        from_model=lambda y: y * UNITS + 5,
    )


ROUTES = [{"method": "full"}, {"through": "encode"}, {"method": "iterative", "tolerance": 1e-9}]


@pytest.mark.parametrize("route", ROUTES)
def test_three_independent_columns_in_their_own_units_have_dimension_three(route) -> None:
    maps, x = standardized(torch.eye(3).double()), 5 + UNITS * torch.ones(2, 3).double()
    found = components(x=x, tikhonov=ALPHA, **maps, **route)
    assert found.dimension.tolist() == [3, 3]
    torch.testing.assert_close(found.variances, torch.ones(2, 3).double())
    torch.testing.assert_close(found.total, torch.full((2,), 3.0).double())
    torch.testing.assert_close(found.preprocessed, torch.ones(2, 3).double())
    assert found.points is x
    # in the units of the data the widening by 2α is 20 for the first column, 2e-7 for the last
    widths = found.displacements.square().sum(1).sqrt()
    torch.testing.assert_close(widths, ((1 + 2 * ALPHA) ** 0.5 * UNITS).expand(2, 3))


@pytest.mark.parametrize("route", ROUTES)
def test_what_is_shown_is_carried_to_the_units_of_the_data(route) -> None:
    correlation = torch.tensor([[1, 0.8, 0.3], [0.8, 1, 0.1], [0.3, 0.1, 1]], dtype=torch.float64)
    maps, x = standardized(correlation), 5 + UNITS * torch.ones(2, 3).double()
    found = components(x=x, tikhonov=ALPHA, **maps, **route)
    values, vectors = (part.flip(-1) for part in torch.linalg.eigh(correlation))
    torch.testing.assert_close(found.variances, values.expand(2, 3))
    cosines = (found.axes @ vectors).diagonal(dim1=1, dim2=2).abs()
    torch.testing.assert_close(cosines, torch.ones(2, 3).double())
    carried = UNITS[:, None] * (correlation + 2 * ALPHA * torch.eye(3)) * UNITS
    torch.testing.assert_close((found.displacements.mT @ found.displacements)[0], carried)
    unit = found.data_axes * found.data_scales[..., None]
    torch.testing.assert_close(unit, found.displacements)
    torch.testing.assert_close(found.data_axes.norm(dim=2), torch.ones(2, 3).double())
    moved = maps["decode"](found.latents[:, None] + found.directions)  # linear: no derivative
    here = maps["from_model"](maps["decode"](found.latents))[:, None]
    torch.testing.assert_close(maps["from_model"](moved) - here, found.displacements)


def test_rounding_of_images_is_carried_by_its_scale() -> None:
    layer = Dequantize((1, 2, 2), 256).eval()
    x = torch.randint(256, (3, 1, 2, 2), generator=torch.Generator().manual_seed(0))
    widths = torch.tensor([0.4, 0.3, 0.2, 0.1]).view(1, 2, 2)
    found = components(
        lambda y: y / widths,
        lambda z: z * widths,
        x,
        to_model=lambda x: layer.encode(x)[0],
        from_model=lambda y: layer.decode(y)[0],
        noise=0.1,
    )
    torch.testing.assert_close(found.scales, widths.flatten().expand(3, 4))
    torch.testing.assert_close(found.data_scales, 256 * found.scales)
    torch.testing.assert_close(found.data_axes, found.axes)
    assert found.dimension.tolist() == [2, 2, 2]  # 0.04 - 0.01 is less than five times 0.01


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("scale", [1e-3, 1.0, 30.0, 1e3])
def test_a_direction_counts_above_the_threshold_and_not_one_below(scale, dtype) -> None:
    """Variances, less the floor, of 4.5 and 5.5 times it: the second alone counts."""
    floor = scale**2
    widths = torch.tensor([100.0, 6.5, 5.5, 1.0, 0.5], dtype=torch.float64).mul(floor).sqrt()
    widths = widths.to(dtype)
    for options in ({"tikhonov": floor / 2}, {"noise": scale}):
        found = components(lambda x: x / widths, lambda z: z * widths, torch.ones(1, 5).to(dtype),
                           **options)  # fmt: skip
        assert found.dimension.tolist() == [2]
        assert intrinsic_dimension(widths[None], **options).tolist() == [2]
        assert spanned_dimension(torch.eye(5, dtype=dtype)[None], widths[None], **options) == 2
        expected = torch.tensor([[99, 5.5, 4.5, 0, -0.5]]).to(dtype) * floor
        torch.testing.assert_close(found.variances, expected, rtol=1e-5, atol=1e-6 * floor)


@pytest.mark.parametrize("options", [{}, {"noise": 0.1}])
@pytest.mark.parametrize("method", ["full", "iterative"])
def test_a_jacobian_of_zeros_has_dimension_zero(method, options) -> None:
    found = components(
        lambda x: x, lambda z: 0 * z, torch.ones(2, 6), method=method, k=2, **options
    )
    assert found.dimension.tolist() == [0, 0]
    assert found.converged.all()
    assert not found.scales.any()
    assert not found.total.any()


def test_both_routes_agree_and_match_autograd() -> None:
    x = torch.randn(6, 2, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    by_decoder = components(warp, unwarp, x)
    by_encoder = components(warp, unwarp, x, through="encode")
    for name in ("axes", "scales", "coordinates", "variances", "dimension"):
        torch.testing.assert_close(getattr(by_decoder, name), getattr(by_encoder, name))
    for index, z in enumerate(warp(x)):
        matrix = torch.autograd.functional.jacobian(lambda z: unwarp(z[None])[0], z)
        u, s, vh = torch.linalg.svd(matrix)
        torch.testing.assert_close(by_decoder.scales[index], s)
        projector = by_decoder.axes[index].T @ torch.diag(s) @ by_decoder.axes[index]
        torch.testing.assert_close(projector, u @ torch.diag(s) @ u.T)
        torch.testing.assert_close(by_decoder.coordinates[index].abs(), (s * (vh @ z)).abs())


def test_an_injective_decoder_with_a_collapsed_direction() -> None:
    matrix = torch.zeros(4, 3)
    matrix[0, 0], matrix[2, 1] = 2.0, 0.5  # the third latent does nothing
    found = components(lambda x: x @ matrix, lambda z: z @ matrix.T, torch.ones(2, 4))
    torch.testing.assert_close(found.scales[0], torch.tensor([2.0, 0.5, 0.0]))
    gram = found.axes[0] @ found.axes[0].T
    torch.testing.assert_close(gram, torch.eye(3))
    assert found.dimension.tolist() == [2, 2]
    with pytest.raises(ShapeError, match="this one takes 3 dimensions to 4: use through='decode'"):
        components(lambda x: x @ matrix.T, lambda z: z, torch.ones(2, 3), through="encode")


def test_an_encoder_that_reduces_gives_its_pseudo_inverse() -> None:
    matrix = torch.randn(5, 3, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    x = torch.ones(2, 5, dtype=torch.float64)
    found = components(lambda x: x @ matrix, lambda z: z, x, through="encode")
    by_hand = found.axes.mT @ torch.diag_embed(found.scales) @ found.directions
    inverse = torch.linalg.pinv(matrix.T)
    torch.testing.assert_close(by_hand, inverse.expand(2, -1, -1))


@pytest.mark.parametrize("method", ["full", "iterative"])
def test_the_noise_of_a_decoder_is_held_fixed(method: str) -> None:
    layer = Abs(3).eval()  # signs are drawn
    x = torch.tensor([[1.0, 2.0, 3.0], [0.5, 0.1, 0.2]])
    scale = torch.tensor([2.0, 1.0, 0.5])
    found, again = (
        components(lambda x: x, lambda z: layer.decode(z * scale)[0], x, method=method)
        for _ in range(2)
    )
    assert torch.equal(found.axes, again.axes)
    torch.testing.assert_close(found.scales, scale.expand(2, 3))


def test_one_bad_point_does_not_spoil_the_others() -> None:
    def decode(z: Tensor) -> Tensor:
        return torch.where(z[:, :1] > 5, z * torch.inf, 2 * z)

    x = torch.tensor([[1.0, 2.0], [9.0, 0.0], [0.5, 0.5]])
    found = components(lambda x: x, decode, x)
    assert found.scales[1].isnan().all()
    assert found.axes[1].isnan().all()
    assert found.dimension[1].isnan()
    assert found.converged.tolist() == [True, False, True]
    assert found.scales[[0, 2]].tolist() == [[2.0, 2.0], [2.0, 2.0]]


def test_events_keep_their_shape_and_a_graph_is_not_needed() -> None:
    x = torch.randn(3, 1, 2, 4)
    with torch.inference_mode():
        found = components(lambda x: x.flatten(1), lambda z: 2 * z.view(-1, 1, 2, 4), x, k=5)
    assert found.axes.shape == (3, 5, 1, 2, 4)
    assert found.latents.shape == (3, 8)
    assert found.axes.dtype == torch.float32


@pytest.mark.parametrize(
    ("option", "message"),
    [
        ({"k": 0}, "k is 0"),
        ({"k": 3}, "k is 3; the latents have 2 dimensions"),
        ({"tikhonov": -1.0}, "tikhonov is -1"),
        ({"noise": -1.0}, "noise is -1"),
        ({"noise": 0.1, "tikhonov": 0.1}, "give one of them"),
        ({"through": "x"}, "through"),
        ({"method": "svd"}, "method is 'svd'"),
        ({"method": "iterative", "through": "encode"}, "use method='full'"),
        ({"tolerance": 0.0}, "tolerance is 0"),
        ({"max_iterations": 0}, "max_iterations is 0"),
    ],
)
def test_options_out_of_range_are_named(option: dict[str, object], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        components(lambda x: x, lambda z: z, torch.ones(1, 2), **option)
