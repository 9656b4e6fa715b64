"""Labels of classes as context."""

import torch
from torch import Tensor

from lightning_flows.core.errors import DataError

__all__ = ["one_hot"]


def one_hot(labels: Tensor, classes: int, owner: str = "The data") -> Tensor:
    """Labels of classes as vectors that a model can be conditioned on.

    Args:
        labels: whole numbers from 0 to classes - 1, (n,), of any integer type.
        classes: number of classes.
        owner: what errors call the data.

    Returns:
        (n, classes), 1 at the place of the class and 0 elsewhere, in torch's default type.

    Raises:
        DataError: labels that are no whole numbers, one for each row, or are out of range.
    """
    if labels.is_floating_point() or labels.is_complex() or labels.ndim != 1:
        raise DataError(
            f"{owner} has labels of type {labels.dtype} and shape {tuple(labels.shape)}; one-hot "
            "context needs one whole number a row. Real-valued context is given as it is."
        )
    labels = labels.long()  # torch compares few of the other types
    strange = (labels < 0) | (labels >= classes)
    if strange.any():
        row = int(strange.nonzero()[0])
        raise DataError(
            f"{owner} has the label {int(labels[row])} in row {row}; accepted are 0 to "
            f"{classes - 1}."
        )
    return torch.nn.functional.one_hot(labels, classes).to(torch.get_default_dtype())
