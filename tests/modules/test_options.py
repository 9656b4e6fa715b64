"""What is logged of the options of a family, and which optimizer it has where none is given."""

from types import SimpleNamespace

import pytest
import torch
from lightning.pytorch import LightningDataModule, Trainer

from lightning_flows.modules.options import default_optimizer, logged_options


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


@pytest.mark.parametrize(
    ("options", "fused"),
    [
        (None, True),
        ({"gradient_clip_val": 1.0}, True),
        ({"precision": "bf16-mixed"}, True),
        ({"precision": "bf16-mixed", "gradient_clip_val": 1.0}, False),
    ],
)
def test_adam_is_fused_but_where_lightning_refuses_that(
    options: dict[str, object] | None, fused: bool
) -> None:
    quiet = {"accelerator": "cpu", "logger": False, "enable_checkpointing": False}
    trainer = None if options is None else Trainer(**quiet, **options)
    optimizer = default_optimizer(trainer)([torch.nn.Parameter(torch.zeros(2))])
    assert type(optimizer) is torch.optim.Adam
    assert (optimizer.defaults["lr"], optimizer.defaults["fused"]) == (1e-3, fused)
