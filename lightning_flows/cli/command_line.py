"""The command line: `lightning-flows fit --config configs/digits/rectangular.yaml`."""

import argparse
import sys
import warnings
from collections.abc import Sequence
from importlib.metadata import entry_points
from typing import Any

import yaml
from jsonargparse import Namespace, set_loader
from lightning.pytorch.callbacks import (
    Checkpoint,
    ModelCheckpoint,
    ProgressBar,
    RichProgressBar,
)
from lightning.pytorch.cli import LightningArgumentParser, LightningCLI
from lightning.pytorch.plugins import CheckpointIO
from yaml import YAMLError

import lightning_flows
from lightning_flows import bases, callbacks, datamodules, flows, modules, objectives, targets
from lightning_flows.callbacks import LastCheckpoint, PredictionWriter
from lightning_flows.cli.beside import config_of_run, guarded
from lightning_flows.cli.commands import COMMANDS, TRUST, parser_of
from lightning_flows.cli.commands import main as run_command
from lightning_flows.cli.defaults import PICTURES, TRAINER, default_callbacks, drawing_interval
from lightning_flows.cli.ending import RankTrainer, exit_status, forwarding
from lightning_flows.cli.parsing import (
    FlowParser,
    building,
    read_yaml,
    stop,
    what_the_user_can_mend,
)
from lightning_flows.cli.runs import choose_folder, left_by
from lightning_flows.core.errors import ConfigError, DivergenceError, check_from_zero, check_least
from lightning_flows.core.trusted import trust
from lightning_flows.datamodules import FlowDataModule
from lightning_flows.modules import FlowModule
from lightning_flows.modules.checkpoint_io import AtomicCheckpointIO

__all__ = ["FlowCLI", "main", "run"]

# imported so that their classes can be named shortly and show in the help
PARTS = (bases, callbacks, datamodules, flows, modules, objectives, targets)

# deprecations inside torch 2.15 and Lightning 2.6 that no user can act on
UPSTREAM = (".*torch.jit.script.* is deprecated", ".*LeafSpec.* is deprecated")


class FlowCLI(LightningCLI):
    """LightningCLI in which the data decides the shapes of the model."""

    def add_arguments_to_parser(self, parser: LightningArgumentParser) -> None:
        """Link shapes, and add the callbacks for checkpoints that every run has."""
        for name in ("event_shape", "context_shape"):
            parser.link_arguments(f"data.{name}", f"model.init_args.{name}", apply_on="instantiate")
        parser.add_lightning_class_args(ModelCheckpoint, "checkpoint")
        parser.set_defaults(
            {
                "checkpoint.monitor": "val/loss",
                "checkpoint.filename": "best-{epoch:03d}",
                "checkpoint.auto_insert_metric_name": False,
            }
        )
        parser.add_lightning_class_args(LastCheckpoint, "last")
        parser.add_argument("--pictures", type=bool, default=True, help=PICTURES)
        parser.add_argument("--trust", action="append", default=[], help=TRUST)

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
            self.config = parser.parse_args(args)
        except UnicodeDecodeError as error:
            parser.error(f"The config is no text: {error}", error)
        subcommand = self.config.get("subcommand")
        if subcommand in COMMANDS:
            parser.error(f"{subcommand} must come first on the command line.")
        config = self.config[subcommand]
        for name, value in config.items():  # jsonargparse reads {} as a type that nothing is
            if name.endswith("class_path") and str(value).startswith("typing."):
                option = name.removesuffix(".class_path")
                parser.error(f"{option} is an empty mapping; give a class_path, or leave it out.")
        trust(*config.pop("trust"))
        if config.weights_only is False:
            parser.error("weights_only is False, which would let a checkpoint run code.")
        config.weights_only = True  # Lightning reads remote checkpoints as pickles otherwise
        for group in ("trainer", "checkpoint"):
            value = config[group]
            if not isinstance(value, Namespace):
                parser.error(f"{group} is {value!r}; accepted are options by their name.")

    def _set_seed(self) -> None:
        try:
            super()._set_seed()
        except ValueError as error:
            raise ConfigError(f"seed_everything: {error}.") from error

    def before_instantiate_classes(self) -> None:
        """Choose the run's folder: that of the checkpoint, or one of its own.

        Raises:
            ConfigError: the name of the checkpoints leads out of their folder.
            CheckpointError: there is no checkpoint to go on with, or it cannot be read.
        """
        config = self.config[self.subcommand]
        goes_on = choose_folder(config, fits=self.subcommand == "fit")
        if goes_on and self.subcommand != "fit":
            self.save_config_callback = None  # the folder keeps the config that it was trained with

    def instantiate_trainer(self, **kwargs: Any) -> Any:
        """Add the default callbacks, and for `predict` the writer of predictions."""
        config = self.config_init[self.subcommand] if self.subcommand else self.config_init
        callbacks = config.trainer.get("callbacks") or []
        configured = [*callbacks] if isinstance(callbacks, list) else [callbacks]
        configured += default_callbacks(
            self.model,
            self.datamodule,
            configured,
            drawing_interval(config.trainer),
            pictures=config.pictures and self.subcommand != "predict",
        )
        has_bar = any(isinstance(callback, ProgressBar) for callback in configured)
        if config.trainer.get("enable_progress_bar") is not False and not has_bar:
            configured.append(RichProgressBar(refresh_rate=1))
        if self.subcommand == "predict":
            self.writer = PredictionWriter()
            configured.append(self.writer)
        with building("Trainer"):
            check_from_zero(gradient_clip_val=config.trainer.get("gradient_clip_val"))
            check_least(1, accumulate_grad_batches=config.trainer.get("accumulate_grad_batches"))
            plugins = config.trainer.get("plugins") or []
            plugins = plugins if isinstance(plugins, list) else [plugins]
            if not any(isinstance(plugin, CheckpointIO) for plugin in plugins):
                plugins = [*plugins, AtomicCheckpointIO()]
            return super().instantiate_trainer(callbacks=configured, plugins=plugins, **kwargs)

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
        self._say_where()

    def after_validate(self) -> None:
        """Say where the pictures are."""
        self._say_where()

    def after_test(self) -> None:
        """Say where the pictures are."""
        self._say_where()

    def _instantiate_trainer(self, config: dict[str, Any], callbacks: list[Any]) -> Any:
        """Leave the callbacks for checkpoints out where checkpoints are switched off."""
        if config.get("enable_checkpointing") is False:
            callbacks = [each for each in callbacks if not isinstance(each, Checkpoint)]
        return super()._instantiate_trainer(config, callbacks)

    def after_predict(self) -> None:
        """Say where the predictions are."""
        if self.writer.path is not None:
            sys.stdout.write(f"Latents and log-densities: {self.writer.path}\n")

    def _parse_ckpt_path(self) -> None:
        """Let no checkpoint change the config, unlike Lightning."""

    def _run_subcommand(self, subcommand: str) -> None:
        """Run it, and end with a status that tells a signal, or an error that ranks have told."""
        for logger in self.trainer.loggers:
            getattr(logger, "log_dir", None)  # is chosen before ranks are forked, for all of them
        try:
            with forwarding(self.trainer):
                super()._run_subcommand(subcommand)
        except BaseException as error:
            status = exit_status(error, self.trainer)
            if status is None:
                raise
            self._say_where()
            raise SystemExit(status) from error

    def _say_where(self) -> None:
        """Say where the run has left what; other ranks may be gone."""
        if not self.trainer.is_global_zero:
            return
        for name, path in left_by(self.trainer).items():
            sys.stdout.write(f"{name}: {path}\n")


def load_plugins() -> None:
    """Import every package with an entry point in the group `lightning_flows.plugins`.

    A plugin that fails becomes a warning that names it.
    """
    for plugin in entry_points(group="lightning_flows.plugins"):
        try:
            plugin.load()
        except Exception as error:  # of a package of others: anything
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
        args: arguments after the program's name; those of the process by default.

    Returns:
        The CLI, with `trainer`, `model` and `datamodule`.

    Raises:
        SystemExit: bad input, after one sentence on standard error; status 1, or 2 where an
            option or a class is unknown.
    """
    prepare()
    args = sys.argv[1:] if args is None else args
    try:
        known = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
        known.add_argument("--trust", action="append", default=[])
        trust(*known.parse_known_args(args)[0].trust)  # before anything is parsed
        config = config_of_run(args)
        if config is None:
            return _run(args)
        with guarded(config, own=args):
            return _run([args[0], "--config", yaml.safe_dump(config), *args[1:]])
    except Exception as error:  # what the user cannot mend goes on
        sentence = what_the_user_can_mend(error)
        if sentence is None:
            raise
        stop(sentence, status=1, cause=error)


def _run(args: Sequence[str]) -> FlowCLI:
    """Parse a command line that is whole, and run it."""
    return FlowCLI(
        FlowModule,
        FlowDataModule,
        trainer_class=RankTrainer,
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
        trainer_defaults=TRAINER,
        seed_everything_default=0,
        args=[*args],
    )


def run() -> None:
    """Entry point of the console script."""
    if sys.argv[1:2] and sys.argv[1] in COMMANDS:
        prepare()
        run_command(sys.argv[1:])
    else:
        main()
