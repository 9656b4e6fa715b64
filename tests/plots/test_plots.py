import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from matplotlib.figure import Figure

from lightning_flows import plots
from lightning_flows.core.errors import ShapeError
from lightning_flows.plots.manifolds import angle_grid, globe_grid, triangle_grid

POINTS = torch.randn(30, 3, generator=torch.Generator().manual_seed(0))
AXES = torch.eye(3).expand(4, 3, 3)
OFFSETS = torch.linspace(-2, 2, 5)
WALKS = torch.cat([POINTS[:20].view(4, 5, 3)[:, None], torch.full((4, 1, 5, 3), torch.nan)], 1)
SCALES = torch.tensor([[2.0, 1.0, 0.1]]).expand(4, 3)


def figures() -> dict[str, Figure]:
    images, broken = torch.rand(5, 1, 4, 4), POINTS.clone()
    broken[0, 0], broken[1] = torch.nan, 1e9
    return {
        "grid": plots.image_grid(images),
        "color grid": plots.image_grid(images.expand(-1, 3, -1, -1), columns=2),
        "pairs": plots.image_pairs(images, images),
        "components": plots.component_images(
            images, torch.randn(5, 2, 1, 4, 4), torch.ones(5, 2), reconstructions=images
        ),
        "color components": plots.component_images(
            images.expand(-1, 3, -1, -1), torch.randn(5, 2, 3, 4, 4), torch.ones(5, 2)
        ),
        **{f"scatter {d}": plots.scatter(broken[:, :d], POINTS[:, :d]) for d in (1, 2, 3)},
        "constant": plots.scatter(torch.zeros(3, 2)),
        **{f"lines {d}": plots.error_lines(POINTS[:, :d], broken[:, :d]) for d in (2, 3)},
        **{
            f"arrows {d}": plots.component_arrows(
                POINTS[:4, :d], AXES[:, :d, :d], SCALES[:, :d], data=POINTS[:, :d]
            )
            for d in (2, 3)
        },
        **{
            f"curves {d}": plots.component_curves(WALKS[..., :d], data=POINTS[:, :d])
            for d in (2, 3)
        },
        "strips": plots.component_strips(torch.rand(2, 3, 5, 1, 4, 4), SCALES[:2], OFFSETS),
        "one color strip": plots.component_strips(
            torch.rand(1, 1, 5, 3, 4, 8), SCALES[:1, :1], OFFSETS
        ),
        "no spectrum": plots.spectrum(torch.full((2, 2), torch.nan)),
        "matrix": plots.component_matrix(AXES, SCALES),
        "density": plots.density(torch.full((4, 4), -torch.inf), (0, 1, 0, 1)),
        "spectrum": plots.spectrum(SCALES, tikhonov=0.1),
        "collapsed spectrum": plots.spectrum(torch.tensor([[1.0, 0.0], [torch.nan, 0.0]])),
        "scores": plots.score_histograms(
            {"a": POINTS[:, 0], "b": POINTS[:, 0].exp(), "c": torch.zeros(3)},
            {"a": broken[:, 0], "b": torch.tensor([0.0, 1e30, torch.inf]), "c": torch.zeros(9)},
            titles={"a": "title"},
            logarithmic=["b"],
        ),
        "no scores": plots.score_histograms(
            {"a": torch.tensor([torch.nan])}, {"a": torch.tensor([torch.inf])}
        ),
        "truncation": plots.truncation(SCALES[0], -SCALES[0], dimension=1),
        "no truncation": plots.truncation(
            torch.tensor([torch.nan, 0.0]), torch.full((2,), -torch.inf)
        ),
        "globe": plots.globe(broken, POINTS),
        "globe density": plots.globe(data=POINTS, log_prob=torch.zeros(4, 8)),
        "globe without a density": plots.globe(log_prob=torch.full((4, 8), -torch.inf)),
        "angles": plots.angles(broken[:, :2], POINTS[:, :2], names=["φ", "ψ"]),
        "angle density": plots.angles(data=POINTS[:, :2], log_prob=torch.randn(5, 5)),
        "triangle": plots.triangle(POINTS.softmax(1), POINTS.softmax(1)),
        "triangle density": plots.triangle(data=POINTS.softmax(1), log_prob=torch.randn(16)),
        "dimension": plots.dimension_histogram(torch.tensor([1.0, 2.0, torch.nan])),
    }


def test_every_figure_renders_whatever_the_numbers(tmp_path: Path) -> None:
    """Warnings of matplotlib (layout, empty axes, NaN) are errors here."""
    for name, figure in figures().items():
        picture = plots.pixels(figure)
        assert picture.std() > 0, name
        plots.save_png(figure, tmp_path / "new" / f"{name}.png")
        assert (tmp_path / "new" / f"{name}.png").read_bytes()[1:4] == b"PNG"


def test_a_spectrum_names_the_space_of_its_scales() -> None:
    for preprocessed, label in (
        (False, "standard deviation"),
        (True, "standard deviation, preprocessed data"),
    ):
        figure = plots.spectrum(SCALES, tikhonov=0.1, preprocessed=preprocessed)
        assert figure.axes[0].get_ylabel() == label


def test_a_truncation_begins_with_no_latents_and_marks_the_dimension() -> None:
    left, right = plots.truncation(SCALES[0], -SCALES[0], dimension=2).axes
    for axes, values in ((left, SCALES[0]), (right, -SCALES[0])):
        curve, mark = axes.lines
        np.testing.assert_allclose(curve.get_xydata().T, [[0, 1, 2], values])
        assert mark.get_xdata()[0] == 2


def test_a_grid_shows_every_pixel_of_every_image_in_order() -> None:
    images = torch.arange(4.0).view(4, 1, 1, 1).expand(-1, 1, 64, 64) / 3
    picture = plots.pixels(plots.image_grid(images))
    height, width, _ = picture.shape
    middles = [picture[height * r // 4, width * c // 4, 0] for r in (1, 3) for c in (1, 3)]
    assert middles == [0, 85, 170, 255]
    assert (picture[0] == 255).all()  # the margin is white


def test_outliers_are_counted_and_do_not_shrink_the_data() -> None:
    samples = torch.cat([POINTS[:, :2], torch.full((2, 2), 1e6)])
    left, right = plots.scatter(samples, POINTS[:, :2]).axes
    assert right.get_title() == "samples (2 outside)"
    assert left.get_xlim() == right.get_xlim()
    assert right.get_xlim()[1] < 10


def test_the_heat_map_is_the_right_way_up() -> None:
    log_prob = np.log(np.array([[1.0, 2.0], [3.0, 4.0]]))
    axes, bar = plots.density(log_prob, (0.0, 2.0, 5.0, 7.0)).axes
    image = axes.get_images()[0]
    assert image.origin == "lower"
    assert list(image.get_extent()) == [0.0, 2.0, 5.0, 7.0]
    np.testing.assert_allclose(image.get_array(), [[1, 2], [3, 4]])
    assert bar.get_ylabel() == "density"


def test_the_colors_of_a_component_are_centered_at_zero() -> None:
    direction = torch.tensor([0.0, 0.1, -0.5, 0.2]).view(1, 1, 1, 2, 2)
    figure = plots.component_images(torch.zeros(1, 1, 2, 2), direction, torch.tensor([[0.25]]))
    _, cell = figure.axes
    assert cell.get_images()[0].get_clim() == (-0.5, 0.5)
    assert cell.get_title() == "0.25"


def test_strips_show_the_walk_from_left_to_right_and_mark_its_middle() -> None:
    paths = torch.arange(5.0).view(1, 1, 5, 1, 1, 1).expand(1, 2, 5, 1, 4, 4) / 4
    upper, lower = plots.component_strips(paths, torch.tensor([[2.0, 0.5]]), OFFSETS).axes
    strip = upper.get_images()[0].get_array()
    np.testing.assert_allclose(strip[:, :, 0], np.repeat(np.arange(5) / 4, 4)[None].repeat(4, 0))
    assert [line.get_xdata()[0] for line in upper.lines] == [7.5, 11.5]
    assert (upper.get_ylabel(), lower.get_ylabel()) == ("2", "0.5")
    assert [tick.get_text() for tick in lower.get_xticklabels()] == ["-2", "-1", "0", "+1", "+2"]
    assert not upper.get_xticks().size


def test_every_score_is_in_some_bin_and_data_set_the_axis() -> None:
    outside = torch.tensor([-1e9, 0.0, 0.5, torch.inf])
    axes = plots.score_histograms({"a": POINTS[:, 0]}, {"a": outside}).axes[0]
    totals = [patch.get_data().values.sum() for patch in axes.patches]
    np.testing.assert_allclose(totals, 1)
    assert axes.get_xlim()[0] > -30
    assert [text.get_text() for text in axes.texts] == ["25% further left", "25% further right"]


def test_wrong_shapes_are_named() -> None:
    with pytest.raises(ShapeError, match=r"Images have shape \(2, 5, 4, 4\)"):
        plots.image_grid(torch.zeros(2, 5, 4, 4))
    with pytest.raises(ShapeError, match=r"Points have shape \(2, 4\)"):
        plots.scatter(torch.zeros(2, 4))


def test_surfaces_are_the_right_way_up() -> None:
    grid = globe_grid(4)
    assert grid.shape == (4, 8, 3)
    assert (np.diff(grid[:, 0, 2]) > 0).all()  # to the north
    assert (np.diff(np.arctan2(grid[0, :, 1], grid[0, :, 0])) > 0).all()  # to the east
    axes, _ = plots.globe(log_prob=torch.arange(8.0).view(4, 2).log()).axes
    np.testing.assert_allclose(axes.collections[0].get_array(), np.arange(8).reshape(4, 2))
    assert (np.diff(angle_grid(3)[:, 0, 1]) > 0).all()
    assert (np.diff(angle_grid(3)[0, :, 0]) > 0).all()
    shares = triangle_grid(5)
    assert shares.shape == (25, 3)
    np.testing.assert_allclose(shares.sum(1), 1)
    np.testing.assert_allclose(shares.mean(0), 1 / 3)
    assert (shares > 0).all()


def test_a_few_peaks_do_not_darken_the_rest() -> None:
    values = torch.ones(40, 40)
    values[0, 0] = 1e6
    axes, bar = plots.angles(log_prob=values.log()).axes
    assert axes.get_images()[0].get_clim() == (0, 1)
    assert bar.get_ylabel() == "density"


def test_there_is_something_to_draw() -> None:
    with pytest.raises(ShapeError, match="There is nothing to draw; samples, data or log_prob"):
        plots.globe()
    with pytest.raises(ShapeError, match=r"The data has shape \(2, 4\); expected is \(n, 2\)"):
        plots.angles(data=torch.zeros(2, 4))


def test_neither_pyplot_nor_lightning_is_imported() -> None:
    code = (
        "import sys, torch; from lightning_flows import plots; "
        "assert not any(m.split('.')[0] == 'matplotlib' for m in sys.modules); "
        "plots.pixels(plots.spectrum(torch.ones(2, 2))); "
        "print([m for m in ('lightning', 'matplotlib.pyplot') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
