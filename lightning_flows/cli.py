"""The command line: `lightning-flows fit --config configs/digits/rectangular.yaml`."""

import re
import sys
import warnings
from collections.abc import Sequence
from importlib.metadata import entry_points
from typing import Any, NoReturn

from lightning.fabric.utilities.exceptions import MisconfigurationException
from lightning.pytorch.callbacks import ModelCheckpoint, ProgressBar, RichProgressBar
from lightning.pytorch.cli import LightningArgumentParser, LightningCLI

import lightning_flows
from lightning_flows import bases, callbacks, datamodules, families, flows, jacobians
from lightning_flows.callbacks import PredictionWriter
from lightning_flows.datamodules import FlowDataModule
from lightning_flows.errors import FlowError
from lightning_flows.families import FlowModule
from lightning_flows.families.checkpoints import check_checkpoint

__all__ = ["FlowCLI", "main", "run"]

# imported so that their classes can be named shortly and show in the help
PARTS = (bases, callbacks, datamodules, families, flows, jacobians)

# deprecations inside torch 2.15 and Lightning 2.6 that no user can act on
UPSTREAM = (".*torch.jit.script.* is deprecated", ".*LeafSpec.* is deprecated")


class FlowParser(LightningArgumentParser):
    """Says what is wrong in one sentence, without the usage of some hundred options."""

    def error(self, message: str, ex: Exception | None = None) -> NoReturn:
        """Write to standard error and exit with status 2."""
        if not self.exit_on_error:  # one of several types that are tried
            super().error(message, ex)
        prog = getattr(ex, "subcommand_parser", self).prog.replace(" [options]", "")
        sys.stderr.write(f"error: {_sentence(message)} (`{prog} --help` explains all options.)\n")
        raise SystemExit(2)


class FlowCLI(LightningCLI):
    """LightningCLI in which the data decides the shapes of the model."""

    def add_arguments_to_parser(self, parser: LightningArgumentParser) -> None:
        """Link shapes, and add the checkpoint callback that every run has."""
        for name in ("event_shape", "context_shape"):
            parser.link_arguments(f"data.{name}", f"model.init_args.{name}", apply_on="instantiate")
        parser.add_lightning_class_args(ModelCheckpoint, "checkpoint")
        parser.set_defaults(
            {
                "checkpoint.monitor": "val/loss",
                "checkpoint.filename": "best-{epoch:03d}",
                "checkpoint.auto_insert_metric_name": False,
                "checkpoint.save_last": True,
            }
        )

    def instantiate_trainer(self, **kwargs: Any) -> Any:
        """Add a bar that redraws once a second, and for `predict` the writer of predictions."""
        config = self.config_init[self.subcommand] if self.subcommand else self.config_init
        callbacks = config.trainer.get("callbacks") or []
        configured = [*callbacks] if isinstance(callbacks, list) else [callbacks]
        has_bar = any(isinstance(callback, ProgressBar) for callback in configured)
        if config.trainer.get("enable_progress_bar") is not False and not has_bar:
            configured.append(RichProgressBar(refresh_rate=1))
        if self.subcommand == "predict":
            self.writer = PredictionWriter()
            configured.append(self.writer)
        return super().instantiate_trainer(callbacks=configured, **kwargs)

    def after_predict(self) -> None:
        """Say where the predictions are."""
        if self.writer.path is not None:
            sys.stdout.write(f"Latents and log-densities: {self.writer.path}\n")

    def _parse_ckpt_path(self) -> None:
        """Check the checkpoint early; unlike Lightning, let no checkpoint change the config."""
        subcommand = self.config.get("subcommand")
        path = self.config[subcommand].get("ckpt_path") if subcommand else None
        if path and path not in ("best", "last", "hpc"):
            check_checkpoint(path)


def load_plugins() -> None:
    """Import every package with an entry point in the group `lightning_flows.plugins`.

    A plugin that fails becomes a warning that names it.
    """
    for plugin in entry_points(group="lightning_flows.plugins"):
        try:
            plugin.load()
        except Exception as error:
            warnings.warn(
                f"The plugin {plugin.name} ({plugin.value}) is left out: {error}", stacklevel=2
            )


def main(args: Sequence[str] | None = None) -> FlowCLI:
    """Parse the command line and run the subcommand.

    Args:
        args: arguments after the program's name; those of the process unless given.

    Returns:
        The CLI, with `trainer`, `model` and `datamodule`.

    Raises:
        SystemExit: bad input, after one sentence on standard error; status 1, or 2 where an
            option or a class is unknown.
    """
    for message in UPSTREAM:
        warnings.filterwarnings("ignore", message, FutureWarning)
    load_plugins()
    try:
        return FlowCLI(
            FlowModule,
            FlowDataModule,
            subclass_mode_model=True,
            subclass_mode_data=True,
            auto_configure_optimizers=False,
            save_config_kwargs={"overwrite": True},
            parser_class=FlowParser,
            parser_kwargs={
                "prog": "lightning-flows",
                "version": lightning_flows.__version__,
                "allow_abbrev": False,
            },
            trainer_defaults={
                "logger": {
                    "class_path": "lightning.pytorch.loggers.TensorBoardLogger",
                    "init_args": {"save_dir": "runs", "default_hp_metric": False},
                },
            },
            args=None if args is None else list(args),
        )
    except Exception as error:
        sentence = _what_the_user_can_mend(error)
        if sentence is None:
            raise
        sys.stderr.write(f"error: {sentence}\n")
        raise SystemExit(1) from error


def run() -> None:
    """Entry point of the console script."""
    main()


def _what_the_user_can_mend(error: BaseException) -> str | None:
    """One sentence about bad input; None where the error is ours."""
    if isinstance(error, OSError):
        return f"{error.strerror or error}: {error.filename or ''}".rstrip(": ") + "."
    cause: BaseException | None = error
    while cause is not None:  # jsonargparse wraps what a constructor raises
        if isinstance(cause, FlowError | MisconfigurationException):
            return " ".join(str(cause).split())
        cause = cause.__cause__
    return None


def _sentence(message: str) -> str:
    """What matters in a message of jsonargparse, which also lists all types that it tried."""
    tried = (
        r"Does not|Subtypes:|Errors:|Given value|Expected a path but|Expected a <class 'NoneType"
    )
    lines = [line.strip().removeprefix("- ") for line in message.splitlines()]
    text = " ".join(line for line in lines if not re.match(tried, line))
    text = re.sub(
        r"Expected a dot import path string: (\S+)", r"\1 is unknown or does not fit", text
    )
    text = re.sub(r"Type \S*Callable\[.*?\] expects a function or a callable class: ", "", text)
    text = re.sub(r"\.? Got value: Namespace\(.*\)$", "", text)
    return " ".join(text.split()).rstrip(".") + "."
