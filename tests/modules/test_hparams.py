"""What is logged of the options of a module, and of its results."""

from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from lightning.pytorch import LightningDataModule, Trainer
from lightning.pytorch.loggers import TensorBoardLogger
from module_cases import SURJECTIVE
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from torch.utils.data import DataLoader

from lightning_flows.modules.hparams import logged_options


class Data(LightningDataModule):
    """Has an option of its own, logged or not."""

    def __init__(self, logger: bool, batch_size: int = 8) -> None:
        super().__init__()
        self.save_hyperparameters("batch_size", logger=logger)


def test_options_are_logged_under_names_that_the_data_does_not_take() -> None:
    options = {"beta": 2.0, "batch_size": 3, "_class_path": "lightning_flows.DensityModule"}
    plain = {"beta": 2.0, "batch_size": 3}
    assert logged_options(options, None) == plain
    assert logged_options(options, SimpleNamespace()) == plain
    assert logged_options(options, Data(logger=False)) == plain
    assert logged_options(options, Data(logger=True)) == {"beta": 2.0, "model/batch_size": 3}


@pytest.mark.filterwarnings("ignore:.*does not have many workers")
@pytest.mark.parametrize("loaders", [1, 2])
def test_results_are_the_last_figures_of_validation_without_their_errors(
    loaders: int, make_trainer: Callable[..., Trainer], tmp_path: Path
) -> None:
    torch.manual_seed(0)
    points = DataLoader(torch.randn(20, 2), 10)
    logger = TensorBoardLogger(tmp_path, default_hp_metric=False)
    trainer = make_trainer(logger=logger)
    trainer.fit(SURJECTIVE(2), points, [points] * loaders)
    logged = {name: float(value) for name, value in trainer.callback_metrics.items()}
    logger.save()
    scalars = EventAccumulator(logger.log_dir).Reload()
    tags = [tag for tag in scalars.Tags()["scalars"] if tag.startswith("hp/")]
    shown = {tag.removeprefix("hp/"): scalars.Scalars(tag)[-1].value for tag in tags}
    suffixes = ["", "/dataloader_idx_1"][:loaders]
    assert {f"val/elbo_se{suffix}" for suffix in suffixes} <= {*logged}
    figures = {f"val/{name}{suffix}" for name in ("elbo", "loss") for suffix in suffixes}
    assert shown == pytest.approx({name: logged[name] for name in figures})
