"""What `ComponentExtraction` finds, logs, keeps and says, on modules whose Jacobian is known."""

from dataclasses import replace
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
import numpy as np
import pytest
import torch
from foreign import Cloud, Foreign, loader, trainer
from lightning.pytorch.loggers import TensorBoardLogger
from torch import Tensor
from torch.utils.data import DataLoader

from lightning_flows import DensityModule, RealNVP
from lightning_flows.callbacks import ComponentExtraction
from lightning_flows.callbacks.drawing.budget import plan
from lightning_flows.callbacks.drawing.signs import signs
from lightning_flows.components import components
from lightning_flows.components.extract import OVERSAMPLING
from lightning_flows.core.errors import ConfigError
from lightning_flows.datamodules import Arrays

pytestmark = [
    pytest.mark.filterwarnings("ignore:.*module.s. in eval mode at the start"),
    pytest.mark.filterwarnings("ignore:.*val_dataloader"),
]


def fit(root: Path, module: Foreign, **options: Any) -> pl.Trainer:
    epochs = options.pop("max_epochs", 1)
    callback = ComponentExtraction(**{"every_n_epochs": 1, **options})
    run = trainer(root, callbacks=[callback], max_epochs=epochs)
    run.fit(module, loader(module.shape), loader(module.shape))
    return run


def arrays(root: Path, stem: str = "0001") -> dict[str, np.ndarray[Any, Any]]:
    with np.load(root / "images" / "components" / f"{stem}.npz") as found:
        return dict(found)


def test_what_is_logged_is_what_the_matrix_says(tmp_path: Path) -> None:
    module = Foreign((5,), lr=0.0)
    logged = fit(tmp_path, module, points=4, relative=0.1).callback_metrics
    matrix = module.matrix.detach()
    widths = torch.linalg.svdvals(matrix)
    condition = float(widths[0] / widths[-1])
    columns = matrix / matrix.norm(dim=0)
    off = float((columns.T @ columns - torch.eye(5)).square().sum().div(20).sqrt())
    assert logged["val/jacobian/condition"] == pytest.approx(condition, rel=1e-4)
    assert logged["val/jacobian/orthogonality"] == pytest.approx(off, rel=1e-4)
    assert logged["val/dimension"] == (widths.square() > 0.1 * widths[0].square()).sum()
    assert logged["usage/component_products"] == 4 * 5
    assert "val/component_agreement" not in logged
    kept = arrays(tmp_path)
    np.testing.assert_allclose(kept["condition"], logged["val/jacobian/condition"], rtol=1e-4)
    np.testing.assert_allclose(kept["scales"], widths.expand(4, 5), rtol=1e-4)
    np.testing.assert_allclose(kept["explained"].sum(1), 1, rtol=1e-5)


class Noting(TensorBoardLogger):
    """Keeps the metrics of the HPARAMS tab."""

    def log_hyperparams(self, params: Any, metrics: Any = None, step: int | None = None) -> None:
        super().log_hyperparams(params, metrics, step)
        self.metrics = metrics


def test_hparams_show_losses_and_scores_but_no_costs(tmp_path: Path) -> None:
    logger, points = Noting(tmp_path), loader((2,))
    callback = ComponentExtraction(points=2, every_n_epochs=1)
    run = trainer(tmp_path, callbacks=[callback], max_epochs=2, logger=logger)
    run.fit(DensityModule(partial(RealNVP, layers=2, hidden=(8,)), 2), points, points)
    assert run.callback_metrics["usage/component_products"] > 0
    scores = ("nll", "loss", "component_agreement", "dimension", "jacobian/condition")
    assert {f"hp/val/{name}" for name in scores} <= set(logger.metrics)
    assert not [name for name in logger.metrics if "products" in name]


class Turning(Foreign):
    """Turns its plane by 30 degrees from drawing to drawing."""

    def on_train_epoch_start(self) -> None:
        angle = torch.tensor(torch.pi / 6 * self.current_epoch)
        turn = torch.stack([angle.cos(), -angle.sin(), angle.sin(), angle.cos()]).view(2, 2)
        self.matrix.data = turn @ torch.diag(torch.tensor([2.0, 1.0]))


def test_agreement_and_signs_follow_the_drawing_before(tmp_path: Path) -> None:
    logged = fit(tmp_path, Turning((2,), lr=0.0), max_epochs=7).callback_metrics
    assert logged["val/component_agreement"] == pytest.approx(3**0.5 / 2, rel=1e-5)
    axes = [arrays(tmp_path, f"{epoch:04d}")["axes"] for epoch in range(1, 8)]
    for before, after in pairwise(axes):
        np.testing.assert_allclose((before * after).sum(2), 3**0.5 / 2, rtol=1e-5)
    np.testing.assert_allclose(axes[6], -axes[0], atol=1e-5)  # after half a turn


def test_in_another_run_a_callback_starts_anew(tmp_path: Path) -> None:
    """From the points of that run's data, and with no drawing before to agree with."""
    callback = ComponentExtraction(points=4, k=1, walks=0, every_n_epochs=1)
    for shift in (0.0, 30.0):
        data = Cloud((2,))
        data.x += shift
        run = trainer(tmp_path / str(shift), callbacks=[callback], max_epochs=1)
        points = DataLoader(data, batch_size=16)
        run.fit(Foreign((2,), lr=0.0), points, points)
        assert "val/component_agreement" not in run.callback_metrics
        np.testing.assert_array_equal(arrays(tmp_path / str(shift))["points"], data.x[:4])


def test_signs_agree_between_neighbors() -> None:
    x = torch.linspace(0.4, 2.7, 24)[:, None]
    z = torch.cat([x, 0 * x], 1)

    def decode(z: Tensor) -> Tensor:  # an arc: its first axis turns over more than a quarter
        return torch.stack([z[:, 0].cos(), z[:, 0].sin()], 1) * (1 + 0.1 * z[:, 1:])

    found = components(lambda x: z, decode, decode(z))
    raw = found.axes
    assert ((raw[1:] * raw[:-1]).sum(2) < 0).any()
    turned = raw * signs(found, None)[..., None]
    assert ((turned[1:] * turned[:-1]).sum(2) > 0).all()
    last = raw.clone()
    last[0] = torch.nan
    kept = raw * signs(found, replace(found, axes=-last))[..., None]
    assert torch.equal(kept[1:], -raw[1:])


@pytest.mark.parametrize("shape", [(2,), (1, 4, 4)])
def test_walks_go_two_standard_deviations_along_the_axes(
    shape: tuple[int, ...], tmp_path: Path
) -> None:
    fit(tmp_path, Foreign(shape, lr=0.0), points=5, walks=3)
    found = arrays(tmp_path)
    walks, k = found["walks"], found["axes"].shape[1]
    assert walks.shape == (3, k, 9, *shape)
    reach = found["axes"][:3] * found["scales"][:3, :k].reshape(3, k, *[1] * len(shape))
    for step, offset in enumerate(found["offsets"]):
        expected = found["points"][:3, None] + offset * reach
        np.testing.assert_allclose(walks[:, :, step], expected, rtol=1e-3, atol=1e-3)
    assert (tmp_path / "images" / "components" / "walks" / "0001.png").exists()


UNITS = torch.tensor([100.0, 1.0, 0.01])


def columns(**options: Any) -> Arrays:
    """Three independent columns in units of their own."""
    x = UNITS * torch.randn(512, 3, generator=torch.Generator().manual_seed(0))
    return Arrays(data=x + 7 * UNITS, batch_size=256, **options)


def test_noise_and_dimensions_are_of_preprocessed_data_and_pictures_of_data(tmp_path: Path) -> None:
    """At the optimum of standardized data, which is where the flow starts: the identity."""
    callback = ComponentExtraction(4, tikhonov=1e-3, every_n_epochs=1, walks=2)
    run = trainer(tmp_path, callbacks=[callback], max_epochs=1)
    still = partial(torch.optim.SGD, lr=0.0)
    module = DensityModule(partial(RealNVP, layers=2, hidden=(8,)), 3, optimizer=still)
    data = columns()
    run.fit(module, data)
    logged, found = run.callback_metrics, arrays(tmp_path)
    assert logged["val/dimension"] == 3
    assert logged["val/jacobian/condition"] == pytest.approx(1, abs=1e-4)
    np.testing.assert_allclose(found["scales"], 1, rtol=1e-4)
    np.testing.assert_allclose(found["variances"], 1 - 2e-3, rtol=1e-4)
    std = data.preprocess.std.numpy()
    np.testing.assert_allclose(np.linalg.norm(found["displacements"], axis=1), [std] * 4, rtol=1e-4)
    carried = found["preprocessed"] * std + data.preprocess.mean.numpy()
    np.testing.assert_allclose(found["points"], carried, rtol=1e-3)
    arrows = found["displacements"][:2]
    for step, offset in enumerate(found["offsets"]):
        expected = found["points"][:2, None] + offset * arrows
        error = np.abs(found["walks"][:, :, step] - expected) / std
        assert error.max() < 1e-2


def test_labels_are_kept(tmp_path: Path) -> None:
    fit(tmp_path, Foreign((2,)), points=16)
    assert arrays(tmp_path)["labels"].tolist() == [0, 1, 2, 3] * 4
    np.testing.assert_array_equal(arrays(tmp_path)["points"][:3], Cloud((2,)).x[[0, 16, 32]])


def test_the_iterative_method_counts_what_it_does(tmp_path: Path) -> None:
    options = {"points": 3, "k": 2, "walks": 0, "method": "iterative"}
    logged = fit(tmp_path, Foreign((1, 4, 4), lr=0.0), **options).callback_metrics
    found, block = arrays(tmp_path), 2 * (2 + OVERSAMPLING)
    assert found["scales"].shape == (3, 2)
    assert found["converged"].all()
    assert logged["usage/component_products"] == block * found["iterations"].sum()
    assert not {"val/dimension", "val/jacobian/condition"} & set(logged)
    assert not (tmp_path / "images" / "components" / "dimension").exists()
    (tmp_path / "full").mkdir()
    fit(tmp_path / "full", Foreign((1, 4, 4), lr=0.0), **{**options, "method": "full"})
    exact = arrays(tmp_path / "full")["scales"][:, :2]
    np.testing.assert_allclose(found["scales"], exact, rtol=0.01)


def test_a_budget_cuts_walks_first_and_then_points(tmp_path: Path) -> None:
    message = "the budget of 70 Jacobian products allows 4 of 5 points, at 16 products each"
    with pytest.warns(UserWarning, match=message):
        logged = fit(tmp_path, Foreign((1, 4, 4)), points=5, budget=70).callback_metrics
    assert logged["usage/component_products"] == 64
    assert len(arrays(tmp_path)["points"]) == 4
    assert "walks" not in arrays(tmp_path)


def test_plans_stay_within_their_budget() -> None:
    wanted: dict[str, Any] = {"k": None, "method": None, "through": "decode"}
    for size in (1, 3, 16, 784):
        for budget in (1, 100, 1000, 10**4, 10**5, 10**7):
            made, cut = plan(size, points=8, walks=3, budget=budget, **wanted)
            spent = made.points * made.cost + made.walks * made.k * made.walk_cost
            assert spent <= budget or (made.points, made.walks) == (1, 0)
            assert bool(cut) == ((made.points, made.walks) != (8, 3))
            assert made.full == (size < 784)
    with pytest.raises(ConfigError, match="k is 4; the latents have 3 dimensions"):
        plan(3, points=8, walks=3, budget=100, **{**wanted, "k": 4})


class Torn(Foreign):
    """Its decoder is not finite beside some data."""

    def decode(self, z: Tensor) -> Tensor:
        torn = (z - self.encode(Cloud((2,)).x[1:2])).abs().sum(1, keepdim=True) < 1e-4
        return super().decode(torch.where(torn, z * torch.inf, z))


def test_a_point_without_a_finite_jacobian_is_named_and_the_others_go_on(tmp_path: Path) -> None:
    with pytest.warns(UserWarning, match="at points 1 the Jacobian is not finite; they are left"):
        run = fit(tmp_path, Torn((2,), lr=0.0), points=4, max_epochs=2)
    found = arrays(tmp_path, "0002")
    assert np.isnan(found["axes"][1]).all()
    for name in ("axes", "scales", "condition", "orthogonality"):
        assert np.isfinite(np.delete(found[name], 1, 0)).all()
    assert run.callback_metrics["val/dimension"] == 2
    assert run.callback_metrics["val/component_agreement"] == pytest.approx(1)
    assert (tmp_path / "images" / "components" / "0002.png").exists()


def test_too_many_components_are_one_warning_and_training_goes_on(tmp_path: Path) -> None:
    with pytest.warns(UserWarning, match="k is 3; the latents have 2 dimensions") as record:
        run = fit(tmp_path, Foreign((2,)), k=3, max_epochs=2)
    assert len([w for w in record if "drew nothing" in str(w.message)]) == 1
    assert run.current_epoch == 2
