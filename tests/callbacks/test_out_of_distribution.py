from functools import partial
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
import numpy as np
import pytest
import torch
from foreign import Cloud, Elsewhere, Foreign, loader, trainer
from sklearn.metrics import roc_auc_score
from torch import Tensor
from torch.utils.data import DataLoader, TensorDataset

from lightning_flows import ComposedFlow, DensityModule, RealNVP, SurjectiveModule
from lightning_flows.callbacks import OutOfDistribution
from lightning_flows.core.errors import DataError
from lightning_flows.datamodules import Digits, Toy
from lightning_flows.transforms import Augment

pytestmark = [
    pytest.mark.filterwarnings("ignore:.*does not have many workers"),
    pytest.mark.filterwarnings("ignore:.*module.s. in eval mode at the start"),
    pytest.mark.filterwarnings("ignore:.*LeafSpec"),
    pytest.mark.filterwarnings("ignore:Starting from v1.9.0"),
]
PLANE = (2,)
FLOW = partial(RealNVP, layers=2, hidden=(8,))


class Line(Foreign):
    """Encodes a point of the plane as its first coordinate."""

    def encode(self, x: Tensor) -> Tensor:
        return x[:, :1]

    def decode(self, z: Tensor) -> Tensor:
        return torch.cat([z, torch.zeros_like(z)], 1)

    def log_prob(self, x: Tensor) -> Tensor:
        return -x[:, 0].square() / 2

    def training_step(self, batch: Any, batch_idx: int) -> Tensor:
        return self.matrix.sum()


def scores(root: Path, stem: str, name: str = "ood") -> dict[str, np.ndarray]:
    with np.load(root / "images" / name / f"{stem}.npz") as arrays:
        return dict(arrays)


def test_equal_points_of_all_chunks_draw_their_own_noise(tmp_path: Path) -> None:
    class Equal(pl.LightningDataModule):
        event_shape = PLANE

        def test_dataloader(self) -> DataLoader[Any]:
            return DataLoader(TensorDataset(torch.ones(200, 2)), 200)

    torch.manual_seed(0)
    model = SurjectiveModule(partial(ComposedFlow, layers=[partial(Augment, add=1), FLOW]), 2)
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, std=0.3)
    callback = OutOfDistribution(Equal(), points=200)
    trainer(tmp_path, callbacks=[callback]).test(model, Equal(), verbose=False)
    assert len(np.unique(scores(tmp_path, "test")["inside_log_prob"])) > 190


def test_areas_accuracies_and_scores_of_a_foreign_module(tmp_path: Path) -> None:
    class Home(pl.LightningDataModule):
        def train_dataloader(self) -> DataLoader[Any]:
            return loader(PLANE)

        test_dataloader = train_dataloader

    callback = OutOfDistribution(Elsewhere(PLANE), points=100)
    run = trainer(tmp_path, callbacks=[callback])
    logged = run.test(Line(PLANE), Home(), verbose=False)[0]
    outside = Cloud(PLANE, 60).x + 1
    # the smaller set has 60 points; classes, of 16 points each, take turns
    first = [row for place in range(16) for row in range(place, 64, 16)][:60]
    inside = Cloud(PLANE).x[first]
    order = [row for place in range(16) for row in range(place, 60, 16)]
    found = scores(tmp_path, "test")
    np.testing.assert_allclose(found["inside_log_prob"], -inside[:, 0].square() / 2)
    np.testing.assert_allclose(found["outside_reconstruction"], outside[order, 1].square())
    assert {name: len(values) for name, values in found.items() if "log_prob" in name} == {
        "inside_log_prob": 60,
        "outside_log_prob": 60,
        "train_inside_log_prob": 40,
        "train_outside_log_prob": 40,
    }
    labels = np.arange(120) >= 60
    for kind, sign in (("log_prob", -1), ("reconstruction", 1)):
        both = np.concatenate([found[f"inside_{kind}"], found[f"outside_{kind}"]])
        area = roc_auc_score(labels, sign * both)
        assert logged[f"test/ood_auroc_{kind}"] == pytest.approx(area, abs=1e-6)
        assert 0.5 < logged[f"test/ood_stump_accuracy_{kind}"] < 1
    assert (tmp_path / "images" / "ood" / "test.png").exists()


def test_nothing_is_made_of_rounding_and_no_stump_without_training_data(tmp_path: Path) -> None:
    callback = OutOfDistribution(Elsewhere(PLANE, shift=30.0), name="far")
    run = trainer(tmp_path, callbacks=[callback])
    logged = run.test(Foreign(PLANE), loader(PLANE), verbose=False)[0]
    assert {name for name in logged if "far" in name} == {"test/far_auroc_log_prob"}
    assert logged["test/far_auroc_log_prob"] == 1
    assert set(scores(tmp_path, "test", "far")) == {"inside_log_prob", "outside_log_prob"}


def test_fit_scores_validation_points(tmp_path: Path) -> None:
    callback = OutOfDistribution(Elsewhere(PLANE), points=8, every_n_epochs=2)
    run = trainer(tmp_path, callbacks=[callback], max_epochs=2)
    run.fit(Line(PLANE), loader(PLANE), loader(PLANE))
    assert {name for name in run.logged_metrics if "ood" in name} == {
        f"val/ood_{measure}_{kind}"
        for measure in ("auroc", "stump_accuracy")
        for kind in ("log_prob", "reconstruction")
    }
    assert sorted(p.name for p in (tmp_path / "images" / "ood").iterdir()) == [
        "0002.npz",
        "0002.png",
    ]


def test_scores_that_are_nan_count_as_most_foreign(tmp_path: Path) -> None:
    class Overflows(Line):
        def log_prob(self, x: Tensor) -> Tensor:
            return torch.where(x[:, 0] > 50, torch.nan, 0.0)

    callback = OutOfDistribution(Elsewhere(PLANE, shift=100.0), points=20)
    run = trainer(tmp_path, callbacks=[callback])
    logged = run.test(Overflows(PLANE), loader(PLANE), verbose=False)[0]
    assert logged["test/ood_auroc_log_prob"] == 1
    assert np.isnan(scores(tmp_path, "test")["outside_log_prob"]).all()


class Upside(Digits):
    """Digits with black and white exchanged."""

    def load(self) -> dict[str, dict[str, Tensor]]:
        return {name: split | {"x": 16 - split["x"]} for name, split in super().load().items()}


def test_images_are_scored_in_units_of_integers_with_the_preprocessing_of_the_model(
    tmp_path: Path,
) -> None:
    torch.manual_seed(0)
    data, foreign = Digits(validation=20, test=70), Upside(validation=20, test=70, alpha=0.2)
    module = DensityModule(partial(RealNVP, layers=2, hidden=(8,)), data.event_shape)
    module.preprocess = data.preprocess
    run = trainer(tmp_path, callbacks=[OutOfDistribution(foreign, points=300)])
    logged = run.test(module, data, verbose=False)[0]
    found = scores(tmp_path, "test")
    x = foreign.test_dataloader().dataset.tensors["x"]
    assert x.dtype == torch.uint8
    with torch.no_grad():
        expected = module.eval().log_prob(x).sort().values
    np.testing.assert_allclose(np.sort(found["outside_log_prob"]), expected, rtol=1e-5)
    mean, error = logged["test/nll"], logged["test/nll_se"]  # of the same rows, with other noise
    assert -found["inside_log_prob"].mean() == pytest.approx(mean, abs=error / 2)
    assert len(found["train_outside_log_prob"]) == 300
    assert logged["test/ood_auroc_log_prob"] > 0.9


def test_other_units_are_refused_before_the_run(tmp_path: Path) -> None:
    data = Digits()
    module = DensityModule(RealNVP, data.event_shape)
    run = trainer(tmp_path, callbacks=[OutOfDistribution(Toy(n_train=8))])
    message = r"Toy with event_shape \(2,\); the event_shape of .* is \(1, 8, 8\)"
    with pytest.raises(DataError, match=message):
        run.test(module, data, verbose=False)


def test_labels_do_not_matter_to_a_model_without_context(tmp_path: Path) -> None:
    data = Digits()
    foreign = Digits(context="one-hot")
    run = trainer(tmp_path, callbacks=[OutOfDistribution(foreign, points=2)])
    module = DensityModule(RealNVP, data.event_shape)
    module.preprocess = data.preprocess
    logged = run.test(module, data, verbose=False)[0]
    assert logged["test/ood_auroc_log_prob"] == 0.5


def test_other_levels_other_context_and_other_numbers_are_refused(tmp_path: Path) -> None:
    data, coarse = Digits(), Digits()
    coarse.levels = 2
    module = DensityModule(RealNVP, data.event_shape)
    with pytest.raises(DataError, match="with levels 2; the levels of the model's own data is 17"):
        trainer(tmp_path, callbacks=[OutOfDistribution(coarse)]).test(module, data)
    conditional = Digits(context="one-hot")
    module = DensityModule(RealNVP, data.event_shape, context_shape=conditional.context_shape)
    with pytest.raises(DataError, match="with context_shape None"):
        trainer(tmp_path, callbacks=[OutOfDistribution(data)]).test(module, conditional)
    module = DensityModule(RealNVP, data.event_shape)
    module.preprocess = data.preprocess
    real = Elsewhere((1, 8, 8))
    run = trainer(tmp_path, callbacks=[OutOfDistribution(real)])
    with pytest.warns(UserWarning, match="The data are integers of shape .* real numbers of shape"):
        run.test(module, data, verbose=False)


def test_what_is_not_drawn_is_not_loaded(tmp_path: Path) -> None:
    foreign = Elsewhere(PLANE)
    run = trainer(tmp_path, callbacks=[OutOfDistribution(foreign)], fast_dev_run=True)
    run.test(Line(PLANE), loader(PLANE), verbose=False)
    assert foreign.stages == []
    run = trainer(tmp_path, callbacks=[OutOfDistribution(foreign)])
    run.test(Line(PLANE), loader(PLANE), verbose=False)
    assert foreign.stages[:2] == ["fit", "test"]


def test_a_conditional_module_gets_the_context_of_both_data_sets(tmp_path: Path) -> None:
    class Conditional(Line):
        context_shape = (1,)

        def encode(self, x: Tensor, context: Tensor) -> Tensor:
            return x - context

        def decode(self, z: Tensor, context: Tensor) -> Tensor:
            return z + context

        def log_prob(self, x: Tensor, context: Tensor) -> Tensor:
            return context[:, 0]

        def test_step(self, batch: Any, batch_idx: int) -> None: ...

    class Labeled(pl.LightningDataModule):
        context_shape = (1,)

        def __init__(self, context: float) -> None:
            super().__init__()
            self.items = [{"x": torch.zeros(2), "context": torch.tensor([context])}] * 4

        def test_dataloader(self) -> DataLoader[Any]:
            return DataLoader(self.items)

    run = trainer(tmp_path, callbacks=[OutOfDistribution(Labeled(-1.0))])
    run.test(Conditional(PLANE), Labeled(1.0), verbose=False)
    found = scores(tmp_path, "test")
    assert (found["inside_log_prob"] == 1).all()
    assert (found["outside_log_prob"] == -1).all()


@pytest.mark.filterwarnings("ignore")  # of Lightning and jsonargparse
def test_the_command_line_takes_a_foreign_data_set(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from lightning_flows.cli.command_line import main

    options = ["data=Toy", "data.name=rings", "data.n_val=32", "points=16"]
    monkeypatch.setattr("sys.argv", ["lightning-flows"])
    cli = main(
        [
            "fit",
            "--model=DensityModule",
            "--model.flow=RealNVP",
            "--model.flow.layers=1",
            "--data=Toy",
            "--data.n_train=64",
            "--data.n_val=32",
            "--trainer.callbacks=OutOfDistribution",
            *(f"--trainer.callbacks.{option}" for option in options),
            "--trainer.max_epochs=1",
            "--trainer.accelerator=cpu",
            "--trainer.logger=false",
            "--trainer.enable_progress_bar=false",
            "--trainer.enable_model_summary=false",
            f"--trainer.default_root_dir={tmp_path}",
        ]
    )
    callback = next(c for c in cli.trainer.callbacks if isinstance(c, OutOfDistribution))
    assert isinstance(callback.data, Toy)
    run = tmp_path / "runs" / "run_0"
    assert len(scores(run, "0001")["outside_log_prob"]) == 16
