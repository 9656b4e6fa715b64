"""Checkpoints: the family that one holds, and those that cannot be read.

They are read as plain data, from whichever place they come: no pickled object of one is made.
"""

import pickle
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from lightning.fabric.plugins.io import TorchCheckpointIO
from lightning.pytorch import LightningModule

from lightning_flows.core.errors import CheckpointError
from lightning_flows.core.recipe import build_factory
from lightning_flows.core.trusted import trust as trust_modules

__all__ = [
    "PlainDataIO",
    "check_checkpoint",
    "load",
    "loading_weights",
    "plain_data_only",
    "reading",
]


def load(path: str | Path, *, trust: Iterable[str] = (), **options: Any) -> Any:
    """Make the family again that a checkpoint holds, whatever its class, in evaluation mode.

    The checkpoint runs no code: it holds plain data, and the classes that it names are ours, those
    of plugins, those of modules that are imported already, or those of modules that you trust.

    Args:
        path: file or address of the checkpoint.
        trust: names of modules whose classes the checkpoint may name, which are then imported; see
            `lightning_flows.trust`.
        options: arguments of `load_from_checkpoint`, such as `map_location` (the CPU by default),
            and of the constructor, in place of those of the checkpoint.

    Returns:
        The LightningModule, whose `log_prob`, `sample`, `encode` and `decode` speak of data in its
        original units.

    Raises:
        CheckpointError: the file is missing, damaged, holds more than plain data, or names no
            family.
        ConfigError: it names a class that it may not name.
    """
    trust_modules(*trust)
    recipe = check_checkpoint(path).get("family")
    if recipe is None:
        raise CheckpointError(
            f"The checkpoint {path} does not name its family; use load_from_checkpoint of the "
            "class that was trained."
        )
    family: Any = build_factory(recipe, LightningModule)
    options = {"map_location": "cpu", **options}
    return family.load_from_checkpoint(path, **options).eval()


def check_checkpoint(path: str | Path) -> dict[str, Any]:
    """Read a checkpoint as plain data, and refuse one that cannot be read.

    Args:
        path: file or address of the checkpoint.

    Returns:
        Its content.

    Raises:
        CheckpointError: no such file, a damaged one, one that holds more than plain data, or no
            checkpoint of a LightningModule.
    """
    remote = "://" in str(path)
    if not remote and not Path(path).is_file():
        raise CheckpointError(f"The checkpoint {path} does not exist.")
    try:
        with reading(path):
            if remote:
                content: Any = PlainDataIO().load_checkpoint(path)
            else:
                content = torch.load(path, map_location="cpu", weights_only=True)
    except CheckpointError:
        raise
    except Exception as error:  # torch raises half a dozen kinds for half a file
        reason = str(error).partition("\n")[0] or type(error).__name__
        raise CheckpointError(
            f"The checkpoint {path} is damaged or no checkpoint: {reason}"
        ) from error
    if not isinstance(content, dict) or "state_dict" not in content:
        raise CheckpointError(f"{path} holds no checkpoint of a LightningModule.")
    return content


def plain_data_only(weights_only: bool | None) -> bool:
    """What `torch.load` is given for its argument of this name: always True.

    Raises:
        CheckpointError: it is False.
    """
    if weights_only is False:
        raise CheckpointError(
            "weights_only is False, which would let the checkpoint run code; "
            "checkpoints of lightning-flows hold plain data and need True."
        )
    return True


@contextmanager
def reading(path: Any) -> Iterator[None]:
    """Replace what torch says about a file that holds Python objects, which advises to make them.

    Args:
        path: file, address or stream that is read inside.

    Raises:
        CheckpointError: torch has refused to make an object.
    """
    try:
        yield
    except pickle.UnpicklingError as error:
        if "weights_only" not in str(error):
            raise
        raise CheckpointError(
            f"The checkpoint {path} is damaged or no checkpoint: it holds Python objects where "
            "plain data belongs; they could run code, and none of them has been made."
        ) from None


@contextmanager
def loading_weights(module: LightningModule) -> Iterator[None]:
    """Replace what torch says about weights that do not fit, which is a line for each of them.

    Args:
        module: whose weights are loaded inside; its flow is named.

    Raises:
        CheckpointError: they belong to another architecture.
    """
    try:
        yield
    except RuntimeError as error:
        first = str(error).partition("\n")[2].strip().partition("\n")[0]
        raise CheckpointError(
            f"The checkpoint belongs to another architecture than this "
            f"{type(module).__name__} of {type(module.flow).__name__}: {first}"
        ) from error


class PlainDataIO(TorchCheckpointIO):
    """Reads checkpoints as plain data; Lightning's own unpickles those of an address.

    A family gives it to the Trainer in place of Lightning's own.
    """

    def load_checkpoint(
        self,
        path: str | Path,
        map_location: Callable[..., Any] | None = lambda storage, _: storage,
        weights_only: bool | None = None,
    ) -> dict[str, Any]:
        """Read a checkpoint; `weights_only=False` is refused for lack of need.

        Args:
            path: file or address.
            map_location: as for `torch.load`.
            weights_only: None and True are the same.

        Raises:
            CheckpointError: `weights_only` is False, or the file holds more than plain data.
        """
        with reading(path):
            return super().load_checkpoint(
                path, map_location, weights_only=plain_data_only(weights_only)
            )
