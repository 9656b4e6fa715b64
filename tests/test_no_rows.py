"""What public functions make of no rows: none of what rows give, NaN, or one sentence."""

from collections.abc import Callable
from dataclasses import is_dataclass
from types import FunctionType
from typing import Any

import pytest
import torch
from matplotlib.figure import Figure
from torch import Tensor

from lightning_flows import components, metrics, objectives, plots
from lightning_flows.components import Components
from lightning_flows.core.errors import FlowError
from lightning_flows.objectives import ExactVolume, Isometry, NoVolume, Tikhonov

POINTS = torch.randn(30, 3, generator=torch.Generator().manual_seed(0)) / 2
SCORES = {"score": POINTS[:, 0]}
MAPS = (torch.sin, torch.atan)
OFFSETS = torch.linspace(-1, 1, 5)


def decoder(z: Tensor) -> Tensor:
    return z.sin() + z.roll(1, 1)


def short(z: Tensor) -> Tensor:
    return z[:, :2].sin()


def long(z: Tensor) -> Tensor:
    return torch.cat([z, z.square()], 1)


def found(x: Tensor, **options: Any) -> Components:
    return components.components(*MAPS, x, **options)


def images(x: Tensor) -> Tensor:
    return x[:, None, :, None].expand(-1, 1, 3, 3)


def axes(x: Tensor) -> Tensor:
    return torch.nn.functional.normalize(x, dim=1)[:, None]


ROWS: dict[str, Callable[[Tensor], Any]] = {
    "components": found,
    "components (through encode)": lambda x: found(x, through="encode", k=2),
    "components (iterative)": lambda x: found(x, k=1, method="iterative"),
    "components (preprocessed)": lambda x: found(x, from_model=torch.sin, to_model=torch.atan),
    "components (in units of the data)": lambda x: (
        (c := found(x)).explained, c.data_axes, c.data_scales
    ),
    "align": lambda x: components.align(found(x)),
    "agreement": lambda x: (
        a := components.agreement(found(x), found(x)), a.axes, a.subspace
    ),
    "neighbor_agreement": lambda x: components.neighbor_agreement(found(x)),
    "traverse": lambda x: components.traverse(*MAPS, x).points,
    "traverse (in units of the data)": lambda x: components.traverse(
        *MAPS, x, unit="data", method="iterative", from_model=torch.sin
    ).points,
    "condition_number": lambda x: metrics.condition_number(torch.sin, x),
    "encoder_decoder_gap": lambda x: metrics.encoder_decoder_gap(*MAPS, x),
    "encoder_decoder_gap (in parts)": lambda x: metrics.encoder_decoder_gap(
        *MAPS, x, at="reconstruction", chunk_size=2
    ),
    "manifold_entropy": lambda x: metrics.manifold_entropy(decoder, x),
    "manifold_entropy (of images)": lambda x: metrics.manifold_entropy(torch.sin, images(x)),
    "manifold_entropy (of two)": lambda x: metrics.manifold_entropy(decoder, x, latents=[0, 2]),
    "total_correlation": lambda x: metrics.total_correlation(decoder, x),
    "total_correlation (of groups)": lambda x: metrics.total_correlation(
        decoder, x, groups=[[0, 2], [1]]
    ),
    "intrinsic_dimension": lambda x: metrics.intrinsic_dimension(x.abs()),
    "participation_ratio": lambda x: metrics.participation_ratio(x.abs()),
    "squared_norm": lambda x: objectives.squared_norm(decoder, x),
    "squared_norm (by probes)": lambda x: objectives.squared_norm(decoder, x, probes=2),
    "volume_and_penalties": lambda x: objectives.volume_and_penalties(
        ExactVolume(), [Isometry(1.0), Tikhonov(1.0, probes=2)], short, long, x
    ),
    "volume_and_penalties (no volume)": lambda x: objectives.volume_and_penalties(
        NoVolume(), [Isometry(1.0), Tikhonov(1.0)], short, long, x
    ),
}  # fmt: skip
NOT_A_NUMBER: dict[str, Callable[[Tensor], Tensor]] = {
    "effective_sample_size": lambda x: metrics.effective_sample_size(x.mT),
    "log_evidence": lambda x: torch.stack(metrics.log_evidence(x.mT)),
    "spanned_dimension": lambda x: metrics.spanned_dimension(axes(x), x[:, :1]),
    "spanned_variances": lambda x: metrics.spanned_variances(axes(x), x[:, :1]),
}
REFUSED: dict[str, tuple[Callable[[Tensor], Any], str]] = {
    "auroc": (lambda x: metrics.auroc(x[:, 0], x[:, 0]), "set of scores is empty"),
    "fit_stump": (lambda x: metrics.fit_stump(POINTS[:, 0], x[:, 0]), "set of scores is empty"),
    "stump_accuracy": (
        lambda x: metrics.stump_accuracy(POINTS[:, 0], POINTS[:, 1], x[:, 0], x[:, 1]),
        "set of scores is empty",
    ),
    "frechet_distance": (lambda x: metrics.frechet_distance(x, POINTS), "Came 0 samples"),
    "sliced_wasserstein": (lambda x: metrics.sliced_wasserstein(POINTS, x), "0 points of data"),
    "mmd": (lambda x: metrics.mmd(x, POINTS), "Came 0 samples"),
    "log_mass": (lambda x: metrics.log_mass(lambda y: y.sum(1), x), "data have 0 points"),
    "latent_order": (lambda x: metrics.latent_order(decoder, x), "none of 0 latents"),
    "affine_gain": (lambda x: metrics.affine_gain(x), "z has 0 finite rows; an affine gain takes"),
    "truncation_curve": (
        lambda x: metrics.truncation_curve(*MAPS, x), "x has no rows; a truncation curve"
    ),
    "image_grid": (lambda x: plots.image_grid(images(x)), "no images to draw"),
    "image_pairs": (lambda x: plots.image_pairs(images(x), images(x)), "no images to draw"),
    "component_images": (
        lambda x: plots.component_images(images(x), images(x)[:, None], x[:, :1]),
        "no points to draw",
    ),
    "component_matrix": (
        lambda x: plots.component_matrix(axes(x), x[:, :1]), "no points to draw"
    ),
    "component_strips": (
        lambda x: plots.component_strips(
            images(x)[:, None, None].expand(-1, 1, 5, 1, 3, 3), x[:, :1], OFFSETS
        ),
        "no points to draw",
    ),
}  # fmt: skip
FIGURES: dict[str, Callable[[Tensor], Figure]] = {
    "scatter": plots.scatter,
    "scatter (a histogram)": lambda x: plots.scatter(x[:, :1], x[:, :1]),
    "scatter (upon data)": lambda x: plots.scatter(x[:, :2], POINTS[:, :2]),
    "error_lines": lambda x: plots.error_lines(x, x),
    "component_arrows": lambda x: plots.component_arrows(x, axes(x), x[:, :1]),
    "component_curves": lambda x: plots.component_curves(
        x[:, None, None].expand(-1, 1, 5, 3), data=x
    ),
    "globe": lambda x: plots.globe(x, x),
    "globe (samples alone)": plots.globe,
    "angles": lambda x: plots.angles(x[:, :2], x[:, :2]),
    "triangle": lambda x: plots.triangle(x, x),
    "density": lambda x: plots.density(x, (0, 1, 0, 1)),
    "dimension_histogram": lambda x: plots.dimension_histogram(x[:, 0].round()),
    "spectrum": lambda x: plots.spectrum(x, tikhonov=0.1),
    "truncation": lambda x: plots.truncation(x[:, 0], x[:, 1]),
    "score_histograms": lambda x: plots.score_histograms({"score": x[:, 0]}, {"score": x[:, 1]}),
    "score_histograms (of data alone)": lambda x: plots.score_histograms(
        SCORES, {"score": x[:, 0]}, logarithmic=["score"]
    ),
}
TAKE_NO_ROWS = {"gaussian_affine_gain", "gaussian_frechet_distance", "pixels", "save_png"}


def tensors(value: Any) -> list[Tensor]:
    """All tensors in a result, in order."""
    if isinstance(value, Tensor):
        return [value]
    if is_dataclass(value):
        value = vars(value).values()
    return [] if value is None else [part for each in value for part in tensors(each)]


@pytest.mark.parametrize("name", ROWS)
def test_of_no_rows_comes_what_rows_give_but_none(name: str) -> None:
    some, none = tensors(ROWS[name](POINTS)), tensors(ROWS[name](POINTS[:0]))
    assert [(0, *each.shape[1:]) for each in some] == [each.shape for each in none]
    assert [each.dtype for each in some] == [each.dtype for each in none]


@pytest.mark.parametrize("name", NOT_A_NUMBER)
def test_a_figure_of_no_rows_is_not_a_number(name: str) -> None:
    some, none = NOT_A_NUMBER[name](POINTS), NOT_A_NUMBER[name](POINTS[:0])
    assert some.isfinite().all()
    assert none.isnan().all()
    assert some.shape == none.shape


@pytest.mark.parametrize("name", REFUSED)
def test_what_needs_rows_says_so(name: str) -> None:
    call, sentence = REFUSED[name]
    call(POINTS[:9])
    with pytest.raises(FlowError, match=sentence):
        call(POINTS[:0])


@pytest.mark.parametrize("name", FIGURES)
def test_a_chart_of_no_rows_is_empty(name: str) -> None:
    assert plots.pixels(FIGURES[name](POINTS[:0])).std() > 0  # its axes


def test_every_public_function_is_here() -> None:
    packages = (components, metrics, objectives, plots)
    public = {name: getattr(package, name) for package in packages for name in package.__all__}
    functions = {name for name, value in public.items() if isinstance(value, FunctionType)}
    tried = {name.partition(" (")[0] for name in [*ROWS, *NOT_A_NUMBER, *REFUSED, *FIGURES]}
    assert tried == functions - TAKE_NO_ROWS
