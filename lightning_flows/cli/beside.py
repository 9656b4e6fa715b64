"""The config that lies beside a checkpoint, read as data: it chooses no code to run.

Whoever passes a checkpoint on passes its config on as well, and the command line reads that where
only the checkpoint is named. A config that the user names is the user's own, as LightningCLI has
it, and is not checked here.
"""

import argparse
import importlib
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from importlib.abc import MetaPathFinder
from typing import Any

from jsonargparse import get_loader, set_loader
from lightning.fabric.plugins.environments.cluster_environment import ClusterEnvironment
from lightning.pytorch import Callback, LightningDataModule
from lightning.pytorch.accelerators import Accelerator
from lightning.pytorch.loggers import Logger
from lightning.pytorch.plugins import CheckpointIO, LayerSync, Precision
from lightning.pytorch.strategies import Strategy
from torch import nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler
from yaml import YAMLError

from lightning_flows.cli.parsing import read_yaml
from lightning_flows.cli.runs import config_beside
from lightning_flows.core.errors import CheckpointError, ConfigError
from lightning_flows.core.recipe import Recorded
from lightning_flows.core.trusted import ROOTS, class_of, is_import_path, may_import, refusal

__all__ = ["config_of_run", "guarded"]

KINDS = (
    Recorded, nn.Module, Optimizer, LRScheduler, LightningDataModule, Callback, Logger, Strategy,
    Accelerator, Precision, CheckpointIO, ClusterEnvironment, LayerSync,
)  # fmt: skip
WHAT = "part of a model, of its data or of a Trainer"


TRAINED = ("fit", "validate", "test", "predict")


def config_of_run(args: Sequence[str]) -> dict[str, Any] | None:
    """Config of the run of a checkpoint, where a command line names that checkpoint alone.

    Args:
        args: a command line; one that has `--config` or `--model` names a config of its own.

    Raises:
        ConfigError: the config cannot be read.
    """
    known = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    for name in ("--ckpt_path", "--config", "--model"):
        known.add_argument(name)
    options, rest = known.parse_known_args(args)
    own = options.config or options.model or any(arg.startswith("--model.") for arg in rest)
    if own or not options.ckpt_path or not args or args[0] not in TRAINED:
        return None
    config = config_beside(options.ckpt_path)
    if config is None:
        return None
    try:
        content = read_yaml(config.read_text())
    except (YAMLError, UnicodeDecodeError) as error:
        raise ConfigError(f"{config} is no config in YAML.") from error
    if not isinstance(content, dict):
        raise ConfigError(f"{config} has no sections.")
    sections = ("seed_everything", "trainer", "model", "data", "checkpoint", "last", "pictures")
    return {name: content[name] for name in sections if name in content}


@contextmanager
def guarded(config: Any, own: Sequence[str] = ()) -> Iterator[None]:
    """Let a config be parsed inside that the user has not named.

    Classes are those that a checkpoint may name, too; see `core.trusted`. Nothing else that the
    config names is imported, and no function, nor any such thing in a further file that
    the config names.

    Args:
        config: the config, as read from YAML.
        own: the command line, whose names are the user's own.

    Raises:
        CheckpointError: a module that the config names was about to be imported.
        ConfigError: the config names a class of a module that must not be imported, or something
            that is no part of a model, of its data or of a Trainer.
    """
    guard = _Guard(own)
    guard.check(config)
    loader = get_loader("yaml")
    set_loader("yaml", guard.read, (YAMLError,))
    sys.meta_path.insert(0, guard)
    try:
        yield
    finally:
        sys.meta_path.remove(guard)
        set_loader("yaml", loader, (YAMLError,))


class _Guard(MetaPathFinder):
    """Knows what a config names, and refuses to have it imported."""

    def __init__(self, own: Sequence[str]) -> None:
        self.own = own
        self.named: set[str] = set()  # modules

    def read(self, text: str) -> Any:
        """Read YAML and check it: also that of a file which stands in place of a section."""
        content = read_yaml(text)
        self.check(content)
        return content

    def check(self, content: Any) -> None:
        """Refuse classes and functions that a config may not name."""
        entries = [content]
        while entries:
            entry = entries.pop()
            if isinstance(entry, dict):
                path = entry.get("class_path")
                if isinstance(path, str) and is_import_path(path) and not self._is_own(path):
                    class_of(path, KINDS, WHAT)
                entries += [item for key, item in entry.items() if key != "class_path"]
            elif isinstance(entry, list):
                entries += entry
            elif isinstance(entry, str) and is_import_path(entry) and not self._is_own(entry):
                self._check_text(entry)

    def find_spec(self, fullname: str, path: Any = None, target: Any = None) -> None:
        """Find nothing, and stop the import of what the config names."""
        if fullname in self.named and not may_import(fullname):
            raise CheckpointError(f"The config of the run: {refusal(f'{fullname}.X')}")

    def _is_own(self, text: str) -> bool:
        return any(text in argument for argument in self.own)

    def _check_text(self, text: str) -> None:
        """A text such as `data.npz` is a file, unless jsonargparse takes it for an object."""
        names = text.split(".")
        self.named.update(".".join(names[:count]) for count in range(1, len(names) + 1))
        found = _reached(names)
        if callable(found) and not (isinstance(found, type) and issubclass(found, KINDS)):
            raise ConfigError(f"{text!r} in the config of the run is no {WHAT}.")


def _reached(names: list[str]) -> Any:
    """What attributes lead to from a module that is loaded, or that may be imported."""
    for count in range(len(names) - 1, 0, -1):
        module = ".".join(names[:count])
        if module not in sys.modules and names[0] in ROOTS and may_import(module):
            try:
                importlib.import_module(module)
            except ImportError:
                continue
        if module in sys.modules:
            found: Any = sys.modules[module]
            for name in names[count:]:
                found = getattr(found, name, None)
            return found
    return None
