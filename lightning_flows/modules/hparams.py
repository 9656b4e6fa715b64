"""What loggers get of a module's options, and TensorBoard's HPARAMS tab of its results."""

from collections.abc import Container, Mapping
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
    """Give TensorBoard's HPARAMS tab the last validation metrics of the run, as `hp/<name>`.

    Standard errors are left out: each metric is a card of its own there, and an error says
    nothing away from its figure.
    """
    logged = module.trainer.callback_metrics.items()
    last = {name: float(value) for name, value in logged if name.startswith("val/")}
    metrics = {f"hp/{name}": value for name, value in last.items() if not _is_error(name, last)}
    options = logged_options(module.hparams, getattr(module.trainer, "datamodule", None))
    for logger in module.loggers if metrics else ():
        if isinstance(logger, TensorBoardLogger):
            logger.log_hyperparams(options, metrics)


def _is_error(name: str, metrics: Container[str]) -> bool:
    """Whether this is `<figure>_se`, of any loader, beside the figure itself."""
    figure, loader, number = name.partition("/dataloader_idx_")
    return figure.endswith("_se") and f"{figure.removesuffix('_se')}{loader}{number}" in metrics


def logged_options(options: Mapping[str, Any], data: Any) -> dict[str, Any]:
    """Options by name; `model/<name>` where the data module logs one of the same name."""
    taken = data.hparams if getattr(data, "_log_hyperparams", False) else {}
    hidden = "_class_path"  # of the command line, for Lightning alone
    shown = {name: value for name, value in options.items() if name != hidden}
    return {f"model/{name}" if name in taken else name: value for name, value in shown.items()}
