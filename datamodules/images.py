"""Images with integer pixels: the embedded digits, MNIST, Fashion-MNIST."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Literal

import torch
from torch import Tensor

from lightning_flows.core.errors import ConfigError, DataError, check_least
from lightning_flows.transforms.bijections.elementwise import Logit
from lightning_flows.transforms.bijections.standardize import Standardize
from lightning_flows.transforms.chain import Chain
from lightning_flows.transforms.surjections.dequantize import Dequantize

from .base import FlowDataModule, Splits, split_indices
from .classes import one_hot
from .readers.idx import read_idx

__all__ = ["MNIST", "Digits", "FashionMNIST", "ImageDataModule", "read_images", "split_fields"]

_NUMERALS = tuple("0123456789")


class ImageDataModule(FlowDataModule):
    """Base of image data: integers from 0 to levels - 1, kept in memory as uint8.

    Preprocessing is Dequantize, Logit, Standardize; log-densities with it are lower bounds of the
    log-probability of the integers. Binary images have none: their pixels are classes 0 and 1, for
    flows of discrete data.

    Args:
        event_shape: (channels, height, width).
        levels: number of values that a pixel may take.
        alpha: how far Logit draws in the ends of the unit interval.
        minimum_scale: least deviation that Standardize divides a pixel by. Without, the noise of
            dequantization is all that pixels at the border hold, at the size of ink.
        label_names: names of the classes.
        context: "one-hot" gives labels as one-hot vectors, (number of classes,), for a model that
            is conditioned on them; without it, a model sees no labels.
        binarize: whether pixels become 1 from half of the largest level up, and 0 below.
        batch_size: images in a batch, on each device.
        seed: starting point of splits and of the order of training data.
    """

    def __init__(
        self,
        event_shape: Sequence[int],
        *,
        levels: int = 256,
        alpha: float = 1e-6,
        minimum_scale: float = 0.0,
        label_names: Sequence[str] | None = None,
        context: Literal["one-hot"] | None = None,
        binarize: bool = False,
        batch_size: int = 256,
        seed: int = 0,
    ) -> None:
        if context not in ("one-hot", None):
            raise ConfigError(f"context is {context!r}; accepted are 'one-hot' and None.")
        classes = len(label_names or ())
        if context and not classes:
            raise ConfigError(f"{type(self).__name__} has no label_names to make context of.")
        preprocess = Chain(
            [
                Dequantize(event_shape, levels),
                Logit(event_shape, alpha),
                Standardize(event_shape, minimum_scale=minimum_scale),
            ]
        )
        self._threshold = (levels - 1) / 2 if binarize else None
        super().__init__(
            event_shape,
            context_shape=classes if context else None,
            preprocess=None if binarize else preprocess,
            label_names=label_names,
            batch_size=batch_size,
            seed=seed,
        )
        self.levels = 2 if binarize else levels
        self.context = context

    def fields(self, x: Tensor, labels: Tensor) -> dict[str, Tensor]:
        """What `load` gives for images and their labels: x, label, and context if it is asked for.

        Raises:
            DataError: labels that are no classes, where they become context.
        """
        if self._threshold is not None:
            x = (x >= self._threshold).to(x.dtype)
        found = {"x": x, "label": labels}
        if self.context is not None and self.num_classes is not None:
            found["context"] = one_hot(labels, self.num_classes, type(self).__name__)
        return found

    def to_image(self, x: Tensor) -> Tensor:
        """Scale pixels for showing: (batch, *event_shape) -> (batch, C, H, W) in [0, 1]."""
        return (x.to(torch.get_default_dtype()) / (self.levels - 1)).clamp(0, 1)


def split_fields(fields: Mapping[str, Tensor], indices: Sequence[Tensor]) -> Splits:
    """Cut fields into "train", "val" and "test"; a split without rows is left out."""
    splits = zip(("train", "val", "test"), indices, strict=True)
    return {
        split: {name: values[index] for name, values in fields.items()}
        for split, index in splits
        if len(index)
    }


def read_images(images: Path, labels: Path) -> tuple[Tensor, Tensor]:
    """Images (n, 1, height, width), uint8, and labels (n,), int64, from idx files.

    Raises:
        DataError: a file is missing or damaged, or they do not belong together.
    """
    x, y = read_idx(images), read_idx(labels)
    if x.ndim != 3 or y.shape != x.shape[:1]:
        raise DataError(
            f"{images.name} and {labels.name} hold arrays of shapes {tuple(x.shape)} and "
            f"{tuple(y.shape)}; expected are (n, height, width) and (n,)."
        )
    return x[:, None], y.long()


class Digits(ImageDataModule):
    """1797 handwritten digits of 8 x 8 pixels and 17 gray levels, embedded in scikit-learn.

    Args:
        validation: number of images to validate on.
        test: number of images to test on.
        alpha: how far Logit draws in the ends of the unit interval.
        context: "one-hot" gives labels as one-hot vectors, (number of classes,), for a model that
            is conditioned on them; without it, a model sees no labels.
        binarize: whether pixels become 1 from half of the largest level up, and 0 below.
        batch_size: images in a batch, on each device.
        seed: starting point of the split and of the order of training data.
    """

    def __init__(
        self,
        *,
        validation: int = 200,
        test: int = 300,
        alpha: float = 0.05,
        context: Literal["one-hot"] | None = None,
        binarize: bool = False,
        batch_size: int = 128,
        seed: int = 0,
    ) -> None:
        super().__init__(
            (1, 8, 8),
            levels=17,
            alpha=alpha,
            label_names=_NUMERALS,
            context=context,
            binarize=binarize,
            batch_size=batch_size,
            seed=seed,
        )
        self.save_hyperparameters(logger=False)
        self._indices = split_indices(1797, (validation, test), seed)

    def load(self) -> Splits:
        from sklearn.datasets import load_digits

        digits = load_digits()
        x = torch.as_tensor(digits.images).to(torch.uint8)[:, None]
        labels = torch.as_tensor(digits.target).long()
        return split_fields(self.fields(x, labels), self._indices)


class MNIST(ImageDataModule):
    """Handwritten digits of 28 x 28 pixels: 55,000 to train, 5,000 to validate, 10,000 to test.

    Args:
        data_dir: folder of the data; what is missing is downloaded into it.
        validation: number of training images to validate on instead.
        limit: train on this many images only; all by default.
        alpha: how far Logit draws in the ends of the unit interval.
        minimum_scale: least deviation that pixels are divided by; a number of the size of ink keeps
            the noise of dequantization small at the border.
        context: "one-hot" gives labels as one-hot vectors, (number of classes,), for a model that
            is conditioned on them; without it, a model sees no labels.
        binarize: whether pixels become 1 from half of the largest level up, and 0 below.
        batch_size: images in a batch, on each device.
        seed: starting point of the split and of the order of training data.
    """

    _dataset = "MNIST"
    _label_names: tuple[str, ...] = _NUMERALS

    def __init__(
        self,
        data_dir: str = "data",
        *,
        validation: int = 5000,
        limit: int | None = None,
        alpha: float = 1e-6,
        minimum_scale: float = 0.0,
        context: Literal["one-hot"] | None = None,
        binarize: bool = False,
        batch_size: int = 256,
        seed: int = 0,
    ) -> None:
        super().__init__(
            (1, 28, 28),
            alpha=alpha,
            minimum_scale=minimum_scale,
            label_names=self._label_names,
            context=context,
            binarize=binarize,
            batch_size=batch_size,
            seed=seed,
        )
        check_least(1, limit=limit)
        self.save_hyperparameters(logger=False)
        self.data_dir = data_dir
        self.validation = validation
        self.limit = limit

    def prepare_data(self) -> None:
        """Download what is missing."""
        if all(
            path.exists() or path.with_name(f"{path.name}.gz").exists()
            for split in ("train", "t10k")
            for path in self._files(split)
        ):
            return
        from torchvision import datasets

        try:
            getattr(datasets, self._dataset)(self.data_dir, download=True)
        except (OSError, RuntimeError, ValueError, AssertionError) as error:
            raise self._incomplete("could not be downloaded") from error

    def load(self) -> Splits:
        try:
            x, labels = self._read("train")
            test = self._read("t10k")
        except DataError as error:
            raise self._incomplete(
                f"cannot be used, or prepare_data has not run: {error}"
            ) from error
        kept, held_out = split_indices(len(x), (self.validation,), self.seed)
        splits = {
            "train": (x[kept[: self.limit]], labels[kept[: self.limit]]),
            "val": (x[held_out], labels[held_out]),
            "test": test,
        }
        return {name: self.fields(*split) for name, split in splits.items() if len(split[0])}

    def _files(self, split: str) -> list[Path]:
        folder = Path(self.data_dir) / self._dataset / "raw"
        return [folder / f"{split}-{kind}-ubyte" for kind in ("images-idx3", "labels-idx1")]

    def _read(self, split: str) -> tuple[Tensor, Tensor]:
        return read_images(*self._files(split))

    def _incomplete(self, reason: str) -> DataError:
        name = self._dataset
        return DataError(
            f"{name} is not complete in {self.data_dir!r} and {reason.rstrip('.')}: go online, or "
            f"put the four files of {name} into {self.data_dir}/{name}/raw, or set data_dir to a "
            "writable folder that holds them."
        )


class FashionMNIST(MNIST):
    """Clothes of 28 x 28 pixels: 55,000 to train, 5,000 to validate, 10,000 to test.

    Options are those of `MNIST`.
    """

    _dataset = "FashionMNIST"
    _label_names = (
        "T-shirt", "trouser", "pullover", "dress", "coat",
        "sandal", "shirt", "sneaker", "bag", "ankle boot",
    )  # fmt: skip
