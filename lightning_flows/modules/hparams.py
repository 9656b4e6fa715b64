"""What loggers get of a module's options, and TensorBoard's HPARAMS tab of its results."""

from collections.abc import Mapping
from typing import Any

import lightning.pytorch as L
from lightning.pytorch.loggers import TensorBoardLogger

__all__ = ["log_options", "log_results", "logged_options"]


def log_options(module: L.LightningModule) -> None:
    """Give every logger of the run the options of the module."""
    options = logged_options(module.hparams, getattr(module.trainer, "datamodule", None))
    for logger in module.loggers:
        logger.log_hyperparams(options)


def log_results(module: L.LightningModule) -> None:
    """Give TensorBoard's HPARAMS tab the last validation metrics of the run, as `hp/<name>`."""
    metrics = {
        f"hp/{name}": float(value)
        for name, value in module.trainer.callback_metrics.items()
        if name.startswith("val/")
    }
    options = logged_options(module.hparams, getattr(module.trainer, "datamodule", None))
    for logger in module.loggers if metrics else ():
        if isinstance(logger, TensorBoardLogger):
            logger.log_hyperparams(options, metrics)


def logged_options(options: Mapping[str, Any], data: Any) -> dict[str, Any]:
    """Options by name; `model/<name>` where the data module logs one of the same name."""
    taken = data.hparams if getattr(data, "_log_hyperparams", False) else {}
    hidden = "_class_path"  # of the command line, for Lightning alone
    shown = {name: value for name, value in options.items() if name != hidden}
    return {f"model/{name}" if name in taken else name: value for name, value in shown.items()}
