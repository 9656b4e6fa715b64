"""What all data modules share: splits in memory, preprocessing, loaders, checks."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import lightning.pytorch as L
import torch
from torch import Tensor

from lightning_flows.core.errors import ConfigError, DataError, check_least
from lightning_flows.core.noise import Placed, occurrences
from lightning_flows.core.shapes import Shape, as_shape
from lightning_flows.transforms.base import Transform
from lightning_flows.transforms.bijections.standardize import Standardize
from lightning_flows.transforms.chain import Chain

from .loader import InMemoryLoader
from .readers.options import plain, whole

__all__ = ["FlowDataModule", "Splits", "split_indices"]

Splits = Mapping[str, tuple[Tensor, ...]]
"""Tensors of "train", "val" and "test": (x,), (x, labels) or (x, context)."""

_PIECE = 1024  # rows that are preprocessed at a time while statistics are taken


class FlowDataModule(L.LightningDataModule):
    """Base of the data modules: subclasses say how to `load` and what to preprocess with.

    Shapes are known after construction, so that a model can be built to fit. Batches hold data in
    original units: x alone, or (x, label). `preprocess` is a transform that a model may put in
    front of its flow; its statistics are fitted in `setup`, on the training split alone, and its
    contribution makes log-densities speak of original units.

    Labels are whole numbers; `conditional` turns them into one-hot vectors. A subclass with context
    of another kind loads (x, context) and sets `context_shape`: that context is given as it is.

    Args:
        event_shape: shape of one data point.
        preprocess: transform whose `Standardize` parts are to be fitted, or None.
        label_names: names of the classes, where data has labels.
        conditional: give labels as one-hot vectors for a model that is conditioned on them,
            instead of as integers that a model ignores.
        batch_size: samples in a batch, on each device.
        seed: starting point of splits and of the order of training data.

    Attributes:
        event_shape: shape of one data point.
        context_shape: (number of classes,) if conditional, else None unless a subclass sets it.
        label_names: names of the classes, or None.
        preprocess: the transform, or None.
    """

    def __init__(
        self,
        event_shape: Sequence[int] | int,
        *,
        preprocess: Transform | None = None,
        label_names: Sequence[str] | None = None,
        conditional: bool = False,
        batch_size: int = 256,
        seed: int = 0,
    ) -> None:
        super().__init__()
        batch_size, seed = whole(batch_size, "batch_size"), whole(seed, "seed")
        check_least(1, batch_size=batch_size)
        check_least(0, seed=seed)
        if conditional and label_names is None:
            raise ConfigError(f"{type(self).__name__} has no labels to be conditional on.")
        self.event_shape: Shape = as_shape(plain(event_shape))
        self.label_names = None if label_names is None else tuple(label_names)
        self.context_shape: Shape | None = (
            (len(self.label_names),) if conditional and self.label_names else None
        )
        self.conditional = conditional
        self.preprocess = preprocess
        self.batch_size = batch_size
        self.seed = seed
        self._splits: dict[str, tuple[Tensor, ...]] = {}

    def _set_hparams(self, hp: Any) -> None:
        """Keep plain options: a checkpoint with others could not be loaded safely."""
        if isinstance(hp, Mapping):  # tensors load safely as they are
            hp = {name: x if isinstance(x, Tensor) else plain(x) for name, x in hp.items()}
        super()._set_hparams(hp)

    @property
    def num_classes(self) -> int | None:
        """Number of classes, where data has labels."""
        return None if self.label_names is None else len(self.label_names)

    def load(self) -> Splits:
        """Read or generate the splits; called once on every process.

        Returns:
            "train", "val" and "test": x (n, *event_shape), and beside it labels, whole numbers
            (n,), or context (n, *context_shape). A split may be missing, except "train".
        """
        raise NotImplementedError

    def setup(self, stage: str | None = None) -> None:
        """Load and check the splits, fit the preprocessing; the second call does nothing."""
        if self._splits:
            return
        splits = {name: self._checked(name, split) for name, split in self.load().items()}
        if self.preprocess is not None:
            _fit(self.preprocess, splits["train"][0])
        self._splits = splits

    def train_dataloader(self) -> InMemoryLoader:
        """Training data in a new order each epoch; in a fixed one while overfitting on purpose."""
        overfit = getattr(self.trainer, "overfit_batches", 0) > 0
        return self._loader("train", shuffle=not overfit)

    def val_dataloader(self) -> InMemoryLoader | list[InMemoryLoader]:
        """Validation data, in order; an empty list where there is none."""
        return self._loader("val") if "val" in self._splits else []

    def test_dataloader(self) -> InMemoryLoader:
        """Test data, in order."""
        return self._loader("test")

    def predict_dataloader(self) -> InMemoryLoader:
        """The test data."""
        return self._loader("test")

    def on_before_batch_transfer(self, batch: Any, dataloader_idx: int) -> Any:
        """Float64 becomes float32 on its way to an Apple GPU, which has nothing wider."""
        if self.trainer is None or self.trainer.strategy.root_device.type != "mps":
            return batch
        parts = (batch,) if isinstance(batch, Tensor) else batch
        cast = tuple(part.float() if part.dtype == torch.float64 else part for part in parts)
        return cast[0] if isinstance(batch, Tensor) else cast

    def _loader(self, split: str, *, shuffle: bool = False) -> InMemoryLoader:
        if not self._splits:
            raise ConfigError(f"Call {type(self).__name__}.setup() before asking for its loaders.")
        if split not in self._splits:
            raise DataError(f"{type(self).__name__} has no {split} split; came {[*self._splits]}.")
        rows, world = len(self._splits[split][0]), getattr(self.trainer, "world_size", 1)
        if rows < world and not shuffle:
            raise DataError(
                f"The {split} split of {type(self).__name__} has fewer rows than there are ranks, "
                f"{rows} and {world}: give it more, or train on fewer devices."
            )
        return InMemoryLoader(self._splits[split], self.batch_size, shuffle=shuffle, seed=self.seed)

    def _checked(self, name: str, split: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        x, *labels = split
        owner = f"The {name} split of {type(self).__name__}"
        if len(x) == 0:
            raise DataError(f"{owner} is empty.")
        if tuple(x.shape[1:]) != self.event_shape:
            raise DataError(
                f"{owner} has events of shape {tuple(x.shape[1:])}; expected is {self.event_shape}."
            )
        if x.is_complex():
            raise DataError(f"{owner} holds complex values; give their real parts as columns.")
        if x.is_floating_point() and not x.isfinite().all():
            row = int((~x.flatten(1).isfinite().all(1)).nonzero()[0])
            raise DataError(f"{owner} holds NaN or infinite values, first in row {row}.")
        if self.context_shape is None:
            return split
        if not labels:
            raise DataError(f"{owner} has no context, and context_shape is {self.context_shape}.")
        context, *rest = labels
        if self.conditional:
            context = _one_hot(context, self.context_shape[0], owner)
        elif tuple(context.shape[1:]) != self.context_shape:
            raise DataError(
                f"{owner} has context of shape {tuple(context.shape[1:])}; expected is "
                f"{self.context_shape}. Give the second tensor that shape, or set conditional for "
                "labels of classes."
            )
        if not context.isfinite().all():
            row = int((~context.flatten(1).isfinite().all(1)).nonzero()[0])
            raise DataError(f"{owner} has context that is NaN or infinite, first in row {row}.")
        return x, context, *rest


def _one_hot(labels: Tensor, classes: int, owner: str) -> Tensor:
    """Labels (n,) of classes as vectors (n, classes)."""
    if labels.is_floating_point() or labels.is_complex() or labels.ndim != 1:
        raise DataError(
            f"{owner} has labels of type {labels.dtype} and shape {tuple(labels.shape)}; "
            "conditional needs one whole number a row. Real-valued context goes without "
            "conditional: set context_shape."
        )
    labels = labels.long()  # torch compares few of the other types
    strange = (labels < 0) | (labels >= classes)
    if strange.any():
        row = int(strange.nonzero()[0])
        raise DataError(
            f"{owner} has the label {int(labels[row])} in row {row}; accepted are 0 to "
            f"{classes - 1}, one for each of label_names."
        )
    one_hot = torch.nn.functional.one_hot(labels, classes)
    return one_hot.to(torch.get_default_dtype())


def split_indices(total: int, sizes: Sequence[int], seed: int) -> list[Tensor]:
    """Shuffle `total` indices and cut off pieces; what is left over comes first.

    Args:
        total: number of rows.
        sizes: sizes of the pieces after the first.
        seed: starting point of the shuffle; the global random state is not touched.

    Raises:
        ConfigError: a negative size, or no row left for the first piece.
    """
    sizes, seed = [whole(size, "a size") for size in sizes], whole(seed, "seed")
    first = total - sum(sizes)
    if min(sizes, default=0) < 0 or first < 1:
        raise ConfigError(
            f"Splits of {sizes} rows leave {first} of {total} rows to train on; make them smaller."
        )
    order = torch.randperm(total, generator=torch.Generator().manual_seed(seed))
    return list(torch.split(order, [first, *sizes]))


@torch.no_grad()
def _fit(preprocess: Transform, x: Tensor) -> None:
    """Fit every `Standardize` of a chain on what the parts before it make of the data."""
    was_training = preprocess.training
    preprocess.eval()  # dequantization noise that is the same on all ranks
    parts: list[Any] = (
        list(preprocess.transforms) if isinstance(preprocess, Chain) else [preprocess]
    )
    for place, part in enumerate(parts):
        if isinstance(part, Standardize) and not part.fitted:
            # a chain of their own: noise is then a hash of whole events, as in the whole chain
            before = Chain(parts[:place]).eval() if place else None
            part.fit(_through(before, *rows) for rows in _pieces(x))
    preprocess.train(was_training)


def _pieces(x: Tensor) -> Iterator[tuple[Tensor, Tensor]]:
    """Rows, and what tells equal ones apart: they get the noise that they have in all of x."""
    return zip(x.split(_PIECE), occurrences(x).split(_PIECE), strict=True)


def _through(before: Transform | None, x: Tensor, places: Tensor) -> Tensor:
    if before is None:
        return x
    with Placed(places):
        return before.encode(x)[0]
