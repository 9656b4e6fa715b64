"""What is logged of the options of a module, and of its results."""

from types import SimpleNamespace

from lightning.pytorch import LightningDataModule

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
