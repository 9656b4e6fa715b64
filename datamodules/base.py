"""What all data modules share: splits in memory, preprocessing, loaders, checks."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import lightning.pytorch as L
import torch
from lightning_utilities.core.apply_func import apply_to_collection
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

Splits = Mapping[str, Mapping[str, Tensor]]
"""Fields of "train", "val" and "test" by their names: x, and context and label where any are."""

_PIECE = 1024  # rows that are preprocessed at a time while statistics are taken


class FlowDataModule(L.LightningDataModule):
    """Base of the data modules: subclasses say how to `load` and what to preprocess with.

    Shapes are known after construction, so that a model can be built to fit. A batch is a mapping
    with data `x` in original units and, where there are any, `context` and `label`. `preprocess`
    is a transform that a model may put in front of its flow; its statistics are fitted in `setup`,
    on the training split alone, and its contribution makes log-densities speak of original units.
    `preprocess_context` is the same for context; it adds nothing to log-densities.

    Context is what a model is conditioned on, and is given as it was loaded. Labels are classes
    for pictures and metrics; they become context where `load` makes it of them, as by `one_hot`.

    Args:
        event_shape: shape of one data point.
        context_shape: shape of the context of one data point; None where there is none.
        preprocess: transform whose `Standardize` parts are to be fitted, or None.
        preprocess_context: the same for context.
        label_names: names of the classes, where data has labels.
        batch_size: samples in a batch, on each device.
        seed: starting point of splits and of the order of training data.

    Attributes:
        event_shape: shape of one data point.
        context_shape: shape of the context of one data point, or None.
        label_names: names of the classes, or None.
        preprocess: the transform, or None.
        preprocess_context: the transform of context, or None.

    Raises:
        ConfigError: a size is out of range, or context is to be preprocessed where there is none.
        ShapeError: a shape is none.
    """

    def __init__(
        self,
        event_shape: Sequence[int] | int,
        *,
        context_shape: Sequence[int] | int | None = None,
        preprocess: Transform | None = None,
        preprocess_context: Transform | None = None,
        label_names: Sequence[str] | None = None,
        batch_size: int = 256,
        seed: int = 0,
    ) -> None:
        super().__init__()
        batch_size, seed = whole(batch_size, "batch_size"), whole(seed, "seed")
        check_least(1, batch_size=batch_size)
        check_least(0, seed=seed)
        self.event_shape: Shape = as_shape(plain(event_shape))
        self.context_shape: Shape | None = (
            None if context_shape is None else as_shape(plain(context_shape), "context_shape")
        )
        if preprocess_context is not None and self.context_shape is None:
            raise ConfigError(
                f"{type(self).__name__} has a preprocess_context and no context_shape; give both."
            )
        self.label_names = None if label_names is None else tuple(label_names)
        self.preprocess = preprocess
        self.preprocess_context = preprocess_context
        self.batch_size = batch_size
        self.seed = seed
        self._splits: dict[str, dict[str, Tensor]] = {}

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
            "train", "val" and "test", each a mapping with "x" (n, *event_shape), "context"
            (n, *context_shape) where there is a context_shape, and "label", whole numbers (n,),
            where there are classes. A split may be missing, except "train".
        """
        raise NotImplementedError

    def setup(self, stage: str | None = None) -> None:
        """Load and check the splits, fit the preprocessing; the second call does nothing."""
        if self._splits:
            return
        splits = {name: self._checked(name, split) for name, split in self.load().items()}
        if self.preprocess is not None:
            _fit(self.preprocess, splits["train"]["x"])
        if self.preprocess_context is not None:
            _fit(self.preprocess_context, splits["train"]["context"])
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
        return apply_to_collection(batch, Tensor, _without_float64)

    def _loader(self, split: str, *, shuffle: bool = False) -> InMemoryLoader:
        if not self._splits:
            raise ConfigError(f"Call {type(self).__name__}.setup() before asking for its loaders.")
        if split not in self._splits:
            raise DataError(f"{type(self).__name__} has no {split} split; came {[*self._splits]}.")
        rows, world = len(self._splits[split]["x"]), getattr(self.trainer, "world_size", 1)
        if rows < world and not shuffle:
            raise DataError(
                f"The {split} split of {type(self).__name__} has fewer rows than there are ranks, "
                f"{rows} and {world}: give it more, or train on fewer devices."
            )
        return InMemoryLoader(self._splits[split], self.batch_size, shuffle=shuffle, seed=self.seed)

    def _checked(self, name: str, split: Mapping[str, Tensor]) -> dict[str, Tensor]:
        owner = f"The {name} split of {type(self).__name__}"
        if not isinstance(split, Mapping) or "x" not in split:
            raise DataError(
                f"{owner} is no mapping with the field 'x'; load() gives one for each split, with "
                "'context' and 'label' beside it where there are any."
            )
        x = split["x"]
        if len(x) == 0:
            raise DataError(f"{owner} is empty.")
        if tuple(x.shape[1:]) != self.event_shape:
            raise DataError(
                f"{owner} has events of shape {tuple(x.shape[1:])}; expected is {self.event_shape}."
            )
        _refuse_no_numbers(x, owner, "")
        if self.context_shape is None:
            if "context" in split:
                raise DataError(f"{owner} has context, and context_shape is None; give its shape.")
            return dict(split)
        if "context" not in split:
            raise DataError(f"{owner} has no context, and context_shape is {self.context_shape}.")
        context = split["context"]
        if tuple(context.shape[1:]) != self.context_shape:
            raise DataError(
                f"{owner} has context of shape {tuple(context.shape[1:])}; expected is "
                f"{self.context_shape}. Labels of classes become context by one_hot."
            )
        _refuse_no_numbers(context, owner, " in its context")
        return dict(split)


def _refuse_no_numbers(values: Tensor, owner: str, where: str) -> None:
    if values.is_complex():
        raise DataError(f"{owner} holds complex values{where}; give their real parts as columns.")
    if values.is_floating_point() and not values.isfinite().all():
        row = int((~values.flatten(1).isfinite().all(1)).nonzero()[0])
        raise DataError(f"{owner} holds NaN or infinite values{where}, first in row {row}.")


def _without_float64(tensor: Tensor) -> Tensor:
    return tensor.float() if tensor.dtype == torch.float64 else tensor


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
