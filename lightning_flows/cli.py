"""The command line: `lightning-flows fit --config configs/digits/rectangular.yaml`."""

import os
import sys
import warnings
from collections.abc import Sequence
from importlib.metadata import entry_points
from pathlib import PurePath
from typing import Any

from jsonargparse import Namespace, set_loader
from lightning.pytorch.callbacks import ModelCheckpoint, ProgressBar, RichProgressBar
from lightning.pytorch.cli import LightningArgumentParser, LightningCLI
from yaml import YAMLError

import lightning_flows
from lightning_flows import bases, callbacks, datamodules, families, flows, jacobians
from lightning_flows.callbacks import PredictionWriter
from lightning_flows.commands import COMMANDS, parser_of
from lightning_flows.commands import main as run_command
from lightning_flows.datamodules import FlowDataModule
from lightning_flows.errors import ConfigError, DivergenceError, check_from_zero, check_least
from lightning_flows.families import FlowModule
from lightning_flows.families.checkpoints import check_checkpoint
from lightning_flows.parsing import (
    FlowParser,
    building,
    read_yaml,
    stop,
    what_the_user_can_mend,
)

__all__ = ["FlowCLI", "main", "run"]

# imported so that their classes can be named shortly and show in the help
PARTS = (bases, callbacks, datamodules, families, flows, jacobians)

RUNS = "runs"  # folder of all runs, below trainer.default_root_dir where that is set

# deprecations inside torch 2.15 and Lightning 2.6 that no user can act on
UPSTREAM = (".*torch.jit.script.* is deprecated", ".*LeafSpec.* is deprecated")


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

    def _add_subcommands(self, parser: LightningArgumentParser, **kwargs: Any) -> None:
        """List the commands that need no Trainer beside those that do."""
        super()._add_subcommands(parser, **kwargs)
        listed: Any = parser._subcommands_action
        for name in COMMANDS:
            command = parser_of(name)
            listed.add_subcommand(name, command, help=command.description)

    def parse_arguments(self, parser: LightningArgumentParser, args: Any) -> None:
        """Refuse what jsonargparse cannot read, or lets pass."""
        try:
            super().parse_arguments(parser, args)
        except UnicodeDecodeError as error:
            parser.error(f"The config is no text: {error}", error)
        subcommand = self.config.get("subcommand")
        if subcommand in COMMANDS:
            parser.error(f"{subcommand} must come first on the command line.")
        for group in ("trainer", "checkpoint"):
            value = self.config[subcommand][group]
            if not isinstance(value, Namespace):
                parser.error(f"{group} is {value!r}; accepted are options by their name.")

    def _set_seed(self) -> None:
        try:
            super()._set_seed()
        except ValueError as error:
            raise ConfigError(f"seed_everything: {error}.") from error

    def before_instantiate_classes(self) -> None:
        """Put runs below `trainer.default_root_dir` unless the logger says where.

        Raises:
            ConfigError: the name of the checkpoints leads out of their folder.
        """
        config = self.config[self.subcommand]
        filename = PurePath(config.checkpoint.get("filename") or "")
        if filename.is_absolute() or ".." in filename.parts:
            raise ConfigError(
                f"checkpoint.filename is {str(filename)!r}; accepted are names within the folder "
                "of the checkpoints, which checkpoint.dirpath changes."
            )
        root, loggers = config.trainer.get("default_root_dir"), config.trainer.get("logger")
        for logger in loggers if isinstance(loggers, list) else [loggers]:
            options = logger.get("init_args") if isinstance(logger, Namespace) else None
            if root is not None and options is not None and options.get("save_dir") == RUNS:
                options.save_dir = os.path.join(root, RUNS)

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
        with building("Trainer"):
            check_from_zero(gradient_clip_val=config.trainer.get("gradient_clip_val"))
            check_least(1, accumulate_grad_batches=config.trainer.get("accumulate_grad_batches"))
            return super().instantiate_trainer(callbacks=configured, **kwargs)

    def after_fit(self) -> None:
        """Refuse to end well where training has left the finite numbers.

        Raises:
            DivergenceError: the last training loss or a weight is not finite.
        """
        loss = self.trainer.callback_metrics.get("train/loss")
        finite = all(bool(weight.isfinite().all()) for weight in self.model.parameters())
        if not finite or (loss is not None and not loss.isfinite()):
            what = f"The last training loss is {loss}" if finite else "Weights are not finite"
            raise DivergenceError(
                f"{what} at the end of training: lower the learning rate, clip gradients or "
                "change the weights of the objective."
            )

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


def prepare() -> None:
    """Keep quiet what no user can act on, read YAML with care, and load plugins."""
    for message in UPSTREAM:
        warnings.filterwarnings("ignore", message, FutureWarning)
    set_loader("yaml", read_yaml, (YAMLError,))
    load_plugins()


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
    prepare()
    try:
        return FlowCLI(
            FlowModule,
            FlowDataModule,
            subclass_mode_model=True,
            subclass_mode_data=True,
            auto_configure_optimizers=False,
            load_from_checkpoint_support=False,  # families and data keep their own arguments
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
                    "init_args": {"save_dir": RUNS, "default_hp_metric": False},
                },
            },
            args=None if args is None else list(args),
        )
    except Exception as error:
        sentence = what_the_user_can_mend(error)
        if sentence is None:
            raise
        stop(sentence, status=1, cause=error)


def run() -> None:
    """Entry point of the console script."""
    if sys.argv[1:2] and sys.argv[1] in COMMANDS:
        prepare()
        run_command(sys.argv[1:])
    else:
        main()
