"""Out-of-distribution detection: scores of another data set beside those of the data."""

from collections.abc import Mapping
from dataclasses import replace
from functools import partial
from typing import Any, ClassVar

import torch
from lightning.pytorch import LightningDataModule, LightningModule, Trainer
from torch import Tensor

from lightning_flows import plots
from lightning_flows.core.errors import DataError
from lightning_flows.core.noise import Placed, occurrences
from lightning_flows.metrics import auroc, stump_accuracy

from .base import FlowCallback, Result, Scene, Task, chunks
from .drawing.points import Points, points_of, split_of
from .drawing.protocols import batch_keys, context_shape
from .drawing.writer import Drawing

__all__ = ["OutOfDistribution"]

CHUNK = 64
LABELS = {"log_prob": "log-density (nats)", "reconstruction": "squared reconstruction error"}
ROUNDING = 1e-6  # squared error, relative to the largest square norm, that is rounding alone

Scores = dict[str, dict[str, Tensor]]
"""By kind of score and by set of points ("inside", "outside", "train_inside", ...)."""


class OutOfDistribution(FlowCallback):
    """AUROC and histograms of scores: data against an out-of-distribution data set.

    There are two scores: `log_prob(x)`, low for foreign points, and the squared reconstruction
    error ‖x - decode(encode(x))‖², high for them. The second needs a module with `encode` and
    `decode`, and is left out where every point comes back up to rounding, as from a bijection.

    For each score `test/<name>_auroc_<score>` is the area under the ROC curve, and
    `test/<name>_stump_accuracy_<score>` the accuracy on test points of one threshold fitted on
    training points of both data sets (left out where there are no training data). Above 0.5 the
    area says that foreign points get the lower densities or the higher errors. A score that is
    NaN counts as most foreign. The NPZ file holds all scores.

    The module's own preprocessing, and its contribution to the density, apply to both data sets:
    the foreign one must come in the same units, which are those of the data before preprocessing.
    In `fit` and `validate` points are those of the validation splits (of the test split where the
    foreign data set has no other), and names start with `val/`. A conditional module is given
    the context of each data set itself.

    Args:
        data: the foreign data set; same shape of events and same levels of pixels.
        points: number of test points, and of training points, from each data set; cut to the
            smaller one.
        every_n_epochs: how often to draw in fit; 0 draws at the end of fit only.
        seed: starting point of random numbers, where the module draws any.
        name: folder of the files, and part of the names of images and metrics.

    Raises:
        ConfigError: an option is out of range.
    """

    needs: ClassVar[tuple[str, ...]] = ("log_prob",)

    def __init__(
        self,
        data: LightningDataModule,
        *,
        points: int = 1000,
        every_n_epochs: int = 0,
        seed: int = 0,
        name: str = "ood",
    ) -> None:
        super().__init__(name, points=points, every_n_epochs=every_n_epochs, seed=seed)
        self.data = data
        self._stage = "fit"

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Check the units of the foreign data set, and load it.

        Raises:
            DataError: its events have another shape, or other levels, than the data.
        """
        super().setup(trainer, pl_module, stage)
        self._check_units(pl_module, getattr(trainer, "datamodule", None))
        if trainer.fast_dev_run or stage == "predict":  # type: ignore[attr-defined]
            return
        if trainer.local_rank == 0:
            self.data.prepare_data()
        trainer.strategy.barrier("out_of_distribution")
        self.data.trainer = trainer
        self.data.setup("fit")
        if stage != "fit":
            self.data.setup(stage)
        self._stage = stage

    def teardown(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Let the foreign data set clean up."""
        if not trainer.fast_dev_run and stage != "predict":  # type: ignore[attr-defined]
            self.data.teardown(stage)
            self.data.trainer = None

    def work(self, scene: Scene) -> list[Task]:
        """Chunks of all sets of points."""
        how: dict[str, Any] = {
            "conditional": context_shape(scene.module) is not None,
            "keys": batch_keys(scene.module),
        }
        foreign = points_of(self._foreign(), self.points, **how)
        sets = _equally_many("", scene.points, foreign)
        training, split = scene.train(self.points), split_of(self.data, "train")
        if training is not None and split is not None:
            foreign = points_of(split, self.points, **how)
            sets |= _equally_many("train_", training, foreign)
        return [
            partial(_score, replace(scene, points=points), name, *chunk)
            for name, points in sets.items()
            for chunk in chunks(len(points.x), CHUNK)
        ]

    def scalars(self, results: list[Result]) -> Mapping[str, float]:
        """AUROC of each score, and the accuracy of its decision stump."""
        return {
            f"{self.name}_{measure}_{kind}": value
            for kind, sets in _scores(results).items()
            for measure, value in _measures(kind, sets).items()
        }

    def draw(self, scene: Scene, results: list[Result]) -> Drawing:
        """Histograms of all scores."""
        scores = _scores(results)
        titles = {}
        for kind, sets in scores.items():
            parts = [
                f"{name.replace('_', ' ').replace('auroc', 'AUROC')} {value:.3f}"
                for name, value in _measures(kind, sets).items()
            ]
            missing = sum(int(sets[side].isnan().sum()) for side in ("inside", "outside"))
            titles[LABELS[kind]] = ", ".join(parts + [f"{missing} NaN"] * (missing > 0))
        figure = plots.score_histograms(
            {LABELS[kind]: sets["inside"] for kind, sets in scores.items()},
            {LABELS[kind]: sets["outside"] for kind, sets in scores.items()},
            titles=titles,
            logarithmic=[LABELS["reconstruction"]],
        )
        arrays = {f"{s}_{kind}": v for kind, sets in scores.items() for s, v in sets.items()}
        return Drawing({"": figure}, arrays)

    def _check_units(self, module: LightningModule, own: Any) -> None:
        asked = {
            "event_shape": getattr(module, "event_shape", getattr(own, "event_shape", None)),
            "levels": getattr(own, "levels", None),
            "context_shape": context_shape(module),
        }
        for name, expected in asked.items():
            given = getattr(self.data, name, None)
            unknown = expected is None or (given is None and name != "context_shape")
            if not unknown and _plain(given) != _plain(expected):
                raise DataError(
                    f"OutOfDistribution got {type(self.data).__name__} with {name} {given}; the "
                    f"{name} of the model's own data is {expected}, and both must be in the same "
                    "units."
                )

    def _foreign(self) -> Any:
        """The foreign data set to score.

        Raises:
            DataError: there is none that can be indexed.
        """
        dataset = None if self._stage == "test" else split_of(self.data, "val")
        if dataset is None:
            self.data.setup("test")
            dataset = split_of(self.data, "test")
        if dataset is None:
            raise DataError(
                f"{type(self.data).__name__} has no test points that can be taken as "
                "test_dataloader().dataset[i]."
            )
        return dataset


def _plain(value: Any) -> Any:
    return list(value) if isinstance(value, tuple | list) else value


def _equally_many(prefix: str, inside: Points, outside: Points) -> dict[str, Points]:
    """Points of both data sets, as many of each, by name.

    Raises:
        DataError: they are not in the same units, as far as can be seen.
    """
    kinds = [
        f"{'real numbers' if points.x.is_floating_point() else 'integers'} of shape "
        f"{tuple(points.x.shape[1:])}"
        for points in (inside, outside)
    ]
    if kinds[0] != kinds[1]:
        raise DataError(
            f"The data are {kinds[0]}, those out of the distribution {kinds[1]}: give a data set "
            "in the same units."
        )
    n = min(len(inside.x), len(outside.x))
    return {
        f"{prefix}{side}": Points(
            points.x[:n], None if points.context is None else points.context[:n]
        )
        for side, points in (("inside", inside), ("outside", outside))
    }


def _score(scene: Scene, name: str, start: int, stop: int) -> Result:
    """Score some points, with the noise of the whole set; keys are `<kind>/<set>`."""
    x, context = scene.batch(start, stop)
    module = scene.module
    with Placed(occurrences(scene.points.x)[start:stop]):
        found = {f"log_prob/{name}": module.log_prob(x, *context)}
        if not all(callable(getattr(module, method, None)) for method in ("encode", "decode")):
            return found
        decoded = module.decode(module.encode(x, *context), *context)
    x = x.to(torch.promote_types(decoded.dtype, torch.float32))
    found[f"reconstruction/{name}"] = (x - decoded).flatten(1).square().sum(1)
    found[f"norm/{name}"] = x.flatten(1).square().sum(1)
    return found


def _scores(results: list[Result]) -> Scores:
    """All chunks joined; no reconstruction where it is a matter of rounding."""
    joined: Scores = {}
    for key in dict.fromkeys(key for result in results for key in result):
        kind, name = key.split("/")
        parts = [result[key] for result in results if key in result]
        joined.setdefault(kind, {})[name] = torch.cat(parts)
    norms = joined.pop("norm", None)
    if norms is not None:
        error, norm = (torch.cat([*s.values()]).max() for s in (joined["reconstruction"], norms))
        if error <= ROUNDING * norm:
            del joined["reconstruction"]
    return joined


def _measures(kind: str, sets: dict[str, Tensor]) -> dict[str, float]:
    """The area, and the accuracy where there are scores of training points."""
    sign = -1 if kind == "log_prob" else 1
    strange = {name: _nan_last(sign * scores) for name, scores in sets.items()}
    measures = {"auroc": float(auroc(strange["inside"], strange["outside"]))}
    if "train_inside" in strange:
        order = ("train_inside", "train_outside", "inside", "outside")
        measures["stump_accuracy"] = float(stump_accuracy(*(strange[name] for name in order)))
    return measures


def _nan_last(scores: Tensor) -> Tensor:
    """NaN become infinite; everything else stays."""
    return torch.where(scores.isnan(), torch.inf, scores)
