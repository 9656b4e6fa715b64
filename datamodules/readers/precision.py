"""How many digits a table needs: single precision where that keeps its values apart."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from lightning_flows.core.errors import DataError

__all__ = ["LARGEST", "as_numbers", "needs_float64"]

LARGEST = 1e150  # squares of larger numbers, and so their variance, are beyond float64
_EXACT = 2.0**53  # float64 holds every whole number up to here
_ROWS = 4096  # rows of which distinct values are counted


def as_numbers(data: Any, owner: str, names: Sequence[str] = ()) -> Tensor:
    """Real numbers as a tensor, in float64 where float32 might not hold them.

    Args:
        data: an array, a tensor, or nested lists.
        owner: what errors call it.
        names: names of the columns, where it has some.

    Raises:
        DataError: no numbers, complex ones, missing ones, or whole ones so large that different
            ones would become equal.
    """
    if isinstance(data, Tensor):
        if data.is_complex():
            raise DataError(f"{owner} holds {data.dtype}; expected are real numbers.")
        if data.layout != torch.strided or data.is_nested or data.is_quantized:
            raise DataError(
                f"{owner} is a sparse, nested or quantized tensor; make it a dense one."
            )
        small = data.dtype.itemsize < 4 or data.dtype == torch.float32
        values = data.detach().to(torch.float32 if small else torch.float64)
        if not data.is_floating_point() and data.dtype.itemsize == 8 and data.ndim > 1:
            _refuse_merged(data.numpy(force=True), values, owner, names)
        return values.clone() if values is data else values
    if np.ma.isMaskedArray(data) and np.ma.getmaskarray(data).any():
        raise DataError(f"{owner} is a masked array with missing values; fill or drop them.")
    try:
        array = np.asarray(data)
    except (TypeError, ValueError) as error:  # rows of different lengths
        raise DataError(f"{owner} is no array of numbers: {error}.") from error
    if array.dtype.kind not in "iufb":
        raise DataError(f"{owner} holds {array.dtype}; expected are real numbers.")
    small = array.dtype.itemsize < 4 or array.dtype.newbyteorder("=") == np.float32
    with np.errstate(over="ignore"):  # of long doubles, which are refused as infinite
        values = torch.as_tensor(array.astype(np.float32 if small else np.float64, copy=True))
    if array.dtype.kind in "iu" and array.dtype.itemsize == 8 and array.ndim > 1:
        _refuse_merged(array, values, owner, names)
    return values


def needs_float64(x: Tensor) -> bool:
    """Whether float32 would merge values of some column that differ, or round them noticeably.

    That is so for whole numbers beyond 2^24, and for a column whose rounding errors have a root
    mean square above 1e-4 standard deviations or a median above 1e-5 of the range between its
    quartiles (in 4096 rows), as 1.7e9 ± 1000 has; outliers matter to the former alone.

    Args:
        x: rows, (rows, ...), float64 or float32; finite.
    """
    if x.dtype != torch.float64:
        return False
    x = x.flatten(1)
    rounded = x.float().double()
    if torch.equal(rounded, x):
        return False
    if not rounded.isfinite().all():
        return True
    varies = (x != x[0]).any(0)
    if not varies.any():
        return False
    x, rounded = x[:, varies], rounded[:, varies]
    whole = ((x == x.round()) & (x.abs() <= _EXACT)).all(0)
    error, spread = rounded - x, x.std(0)
    if error[:, whole].any() or (error.square().mean(0).sqrt() > 1e-4 * spread).any():
        return True
    some = slice(None, None, max(1, len(x) // _ROWS))
    ordered = x[some].sort(0).values
    low, high = (ordered[len(ordered) * quarter // 4] for quarter in (1, 3))
    return bool((error[some].abs().median(0).values > 1e-5 * (high - low)).any())


def _refuse_merged(array: Any, values: Tensor, owner: str, names: Sequence[str]) -> None:
    """Refuse 64-bit whole numbers of which float64 makes different ones equal."""
    columns = array.reshape(len(array), -1)
    rounded = values.flatten(1).numpy(force=True)
    for place in np.flatnonzero((np.abs(rounded) > _EXACT).any(0)).tolist():
        if len(np.unique(columns[:, place])) > len(np.unique(rounded[:, place])):
            column = names[place] if len(names) == columns.shape[1] else place
            raise DataError(
                f"{owner} holds whole numbers beyond 2^53 in column {column}, and some that differ "
                "are equal in double precision; subtract a constant from them, or leave the column "
                "out or make it categorical if they are names."
            )
