"""Letters in the format of MNIST, foreign to it."""

from pathlib import Path
from typing import Literal

from lightning_flows.core.errors import DataError

from .base import Splits, split_indices
from .images import ImageDataModule, read_images, split_fields

__all__ = ["NotMNIST"]

_FILES = ("t10k-images-idx3-ubyte", "t10k-labels-idx1-ubyte")


class NotMNIST(ImageDataModule):
    """Letters A to J in many fonts, 28 x 28 pixels (Y. Bulatov 2011): what MNIST models never saw.

    Only the 10,000 test images are read, as `data_dir`/notMNIST/raw holds them in MNIST's format,
    packed (.gz) or not; nothing is downloaded. All splits are cut from them: 4,000 to train, 1,000
    to validate, 5,000 to test. Letters to train on are what the stump of `OutOfDistribution` needs,
    and what a model of letters would be fitted to.

    Args:
        data_dir: folder of the data.
        validation: number of images to validate on.
        test: number of images to test on; what is left over trains.
        alpha: how far Logit draws in the ends of the unit interval.
        context: "one-hot" gives labels as one-hot vectors, (number of classes,), for a model that
            is conditioned on them; without it, a model sees no labels.
        batch_size: images in a batch, on each device.
        seed: starting point of the split and of the order of training data.
    """

    def __init__(
        self,
        data_dir: str = "data",
        *,
        validation: int = 1000,
        test: int = 5000,
        alpha: float = 1e-6,
        context: Literal["one-hot"] | None = None,
        batch_size: int = 256,
        seed: int = 0,
    ) -> None:
        super().__init__(
            (1, 28, 28),
            alpha=alpha,
            label_names=tuple("ABCDEFGHIJ"),
            context=context,
            batch_size=batch_size,
            seed=seed,
        )
        self.save_hyperparameters(logger=False)
        self.data_dir = data_dir
        self.validation = validation
        self.test = test

    def load(self) -> Splits:
        folder = Path(self.data_dir) / "notMNIST" / "raw"
        try:
            x, labels = read_images(*(folder / name for name in _FILES))
        except DataError as error:
            raise DataError(
                f"notMNIST cannot be read: {error} It is not downloaded: put {_FILES[0]}.gz and "
                f"{_FILES[1]}.gz (public copies of notMNIST in MNIST's format have them) into "
                f"{folder}, or set data_dir to the folder that holds notMNIST/raw."
            ) from error
        indices = split_indices(len(x), (self.validation, self.test), self.seed)
        return split_fields(self.fields(x, labels), indices)
