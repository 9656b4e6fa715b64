"""Fixed points of a data set, the same in every epoch and on every rank, and their pictures."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from lightning.pytorch import LightningDataModule, Trainer
from lightning.pytorch.utilities.model_helpers import is_overridden
from torch import Tensor

from lightning_flows.core.errors import DataError

__all__ = ["Points", "fixed_points", "image_scale", "points_of", "split_of", "training_points"]

KEYS = ("x", "context")


@dataclass(frozen=True)
class Points:
    """Points on the CPU.

    Args:
        x: data, (n, *event).
        context: what a conditional model gets with them, (n, *context), or None.
        labels: their classes, (n,), or None.
    """

    x: Tensor
    context: Tensor | None = None
    labels: Tensor | None = None


def fixed_points(
    trainer: Trainer, n: int, *, conditional: bool, keys: tuple[str, str] = KEYS
) -> Points:
    """Take n points from the data set behind the validation (test, training) loader.

    They are `dataset[0]`, `dataset[1]`, ... of the first loader, an item being x, (x, label or
    context) or {"x": ..., "context": ..., "label": ...}, with the module's own keys where it has
    others. With labels the classes take turns among the first 4 n items. Where there is no "label",
    an integer beside x, or a one-hot vector, is taken as one.

    Args:
        trainer: a trainer that is running.
        n: number of points; fewer come where the data set is smaller.
        conditional: keep the context, or what stands beside x in a tuple.
        keys: names of data and context in items that are mappings.

    Raises:
        DataError: there is no data set that can be indexed.
    """
    return points_of(_dataset(trainer), n, conditional=conditional, keys=keys)


def training_points(
    trainer: Trainer, n: int, *, conditional: bool, keys: tuple[str, str] = KEYS
) -> Points | None:
    """Take points from the training set, also in `validate` and `test`.

    There they come from the data module; None where there is none, or no training set in it.

    Args:
        trainer: a trainer that is running.
        n: number of points; fewer come where the data set is smaller.
        conditional: keep the context, or what stands beside x in a tuple.
        keys: names of data and context in items that are mappings.
    """
    datamodule = getattr(trainer, "datamodule", None)
    dataset = _first(trainer.train_dataloader)
    if dataset is None and datamodule is not None:
        datamodule.setup("fit")  # another stage may be all that was set up so far
        dataset = split_of(datamodule, "train")
    if dataset is None:
        return None
    return points_of(dataset, n, conditional=conditional, keys=keys)


def points_of(dataset: Any, n: int, *, conditional: bool, keys: tuple[str, str] = KEYS) -> Points:
    """Take points from a data set that can be indexed, as `fixed_points` does.

    Raises:
        DataError: the data set is empty, or has no data or context under the keys asked for.
    """
    items = [_item(dataset[index], keys) for index in range(min(4 * n, len(dataset)))]
    if not items:
        raise DataError("The data set is empty; there is no point to draw.")
    classes = [item.label for item in items]
    chosen = _take_turns(classes)[:n]
    x = torch.stack([items[index].x for index in chosen])
    known = [label for index in chosen if (label := classes[index]) is not None]
    labels = torch.tensor(known) if len(known) == len(chosen) else None
    if not conditional:
        return Points(x, labels=labels)
    beside = [items[index].context for index in chosen]
    if any(entry is None for entry in beside):
        raise DataError("The model has a context_shape, but items of the data set have no context.")
    return Points(x, torch.stack([torch.as_tensor(entry) for entry in beside]), labels)


def image_scale(datamodule: Any, points: Tensor) -> Callable[[Tensor], Tensor] | None:
    """How events become images in [0, 1]; None where they are none.

    That is `to_image` of the datamodule where it has one. Else events of shape (1 or 3, height,
    width) are images: the lowest and highest value among the points become 0 and 1, and what
    lies beyond is clipped.
    """
    own = getattr(datamodule, "to_image", None)
    if callable(own):
        return own  # type: ignore[no-any-return]
    if points.ndim != 4 or points.shape[1] not in (1, 3):
        return None
    low, high = (float(end) for end in points.double().aminmax())
    return lambda x: ((x.double() - low) / max(high - low, 1e-12)).clamp(0, 1)


def _dataset(trainer: Trainer) -> Any:
    if trainer.testing:
        loaders = [trainer.test_dataloaders]
    else:
        loaders = [trainer.val_dataloaders, trainer.train_dataloader]
    for loader in loaders:
        dataset = _first(loader)
        if dataset is not None:
            return dataset
    raise DataError(
        "Fixed points are taken as loader.dataset[i] of the validation loader, else of the "
        "training loader; neither has a data set that can be indexed."
    )


def split_of(datamodule: LightningDataModule, split: str) -> Any:
    """The "train", "val" or "test" data set of a data module; None where it has none."""
    name = f"{split}_dataloader"
    if not is_overridden(name, datamodule, LightningDataModule):
        return None
    return _first(getattr(datamodule, name)())


def _first(loader: Any) -> Any:
    """The data set behind a loader, or behind the first of several; None where there is none."""
    while isinstance(loader, Mapping | Sequence) and loader:
        loader = next(iter(loader.values() if isinstance(loader, Mapping) else loader))
    dataset = getattr(loader, "dataset", None)
    indexed = hasattr(dataset, "__getitem__") and hasattr(dataset, "__len__")
    return dataset if indexed else None


class _Item(NamedTuple):
    x: Tensor
    context: Any
    label: int | None


def _item(item: Any, keys: tuple[str, str]) -> _Item:
    """The point, what may be its context, and its class."""
    if isinstance(item, Mapping):
        data, context = keys
        if data not in item:
            raise DataError(
                f"Items of the data set hold {', '.join(map(repr, item)) or 'nothing'}, and not "
                f"{data!r}: name the entry of the data with data_key of the module."
            )
        beside = item.get(context)
        label = _label(item.get("label", beside))
        return _Item(torch.as_tensor(item[data]), beside, label)
    beside = None
    if isinstance(item, tuple | list):
        item, beside = item[0], item[1] if len(item) > 1 else None
    return _Item(torch.as_tensor(item), beside, _label(beside))


def _label(beside: Any) -> int | None:
    """The class, where it is given as an integer or a one-hot vector."""
    if beside is None:
        return None
    try:
        value = torch.as_tensor(beside)
    except (TypeError, ValueError, RuntimeError):
        return None
    if value.ndim == 0 and not value.is_floating_point():
        return int(value)
    if value.ndim == 1 and bool((value * value == value).all()) and value.sum() == 1:
        return int(value.argmax())
    return None


def _take_turns(labels: list[int | None]) -> list[int]:
    """Indices such that classes alternate; the given order where a label is missing."""
    if any(label is None for label in labels):
        return list(range(len(labels)))
    seen: dict[int | None, int] = {}
    turns = []
    for index, label in enumerate(labels):
        seen[label] = seen.get(label, -1) + 1
        turns.append((seen[label], label, index))
    return [index for *_, index in sorted(turns)]
