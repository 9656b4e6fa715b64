"""Columns of a table that leave it without a density: redundant ones, and few values repeated."""

from collections.abc import Collection, Sequence

import numpy as np
import torch
from torch import Tensor

__all__ = ["listed", "redundant", "repeated"]

_NOTICEABLE = 1e-6  # of a standard deviation: less is lost in single precision
_WIDEST = 1000  # columns among which linear functions are looked for
_ROWS = 65536  # rows in which values are counted
_COMMON = 0.05  # share of the rows


def redundant(x: Tensor, names: Sequence[str], real: Sequence[int]) -> dict[int, str]:
    """Columns that are constant, equal an earlier one, or are a linear function of earlier ones.

    Linear means c = offset + sum of multiples, to within 1e-6 standard deviations of c and the
    rounding of the type that the table came in. It is looked for where there are more rows than
    columns, and 1000 columns at most.

    Args:
        x: rows, (rows, columns), float32 or float64 as they came.
        names: names of the columns.
        real: places of the columns that may be linear functions: not those of categories.

    Returns:
        What is wrong with a column, by its place.
    """
    constant = (x == x[0]).all(0).tolist()
    _, kinds = torch.unique(x, dim=1, return_inverse=True)
    first: dict[int, int] = {}
    found: dict[int, str] = {}
    for place, kind in enumerate(kinds.tolist()):
        if constant[place]:
            found[place] = f"{names[place]} is constant"
        elif first.setdefault(kind, place) != place:
            found[place] = f"{names[place]} equals {names[first[kind]]}"
    others = [place for place in real if place not in found]
    if 1 < len(others) <= min(_WIDEST, len(x) - 2):
        for place, parts in _linear(x[:, others]).items():
            sources = " and ".join(names[others[part]] for part in parts[:4])
            more = f" and {len(parts) - 4} more" if len(parts) > 4 else ""
            found[others[place]] = f"{names[others[place]]} is a linear function of {sources}{more}"
    return dict(sorted(found.items()))


def repeated(x: Tensor, names: Sequence[str], places: Sequence[int], unit: str) -> dict[int, str]:
    """Columns with values that repeat so often that a density would have to be infinite there.

    Those are columns of whole numbers with at least two rows for each value, of other numbers with
    at least fifty, and such as take one value in 5 % of the rows. Constant ones are not counted.

    Args:
        x: rows, (rows, columns).
        names: what to call the columns.
        places: which columns to look at.
        unit: what to call the rows.

    Returns:
        What is wrong with a column, by its place; "whole numbers" is said of whole numbers alone.
    """
    found = {}
    for place in places:
        column = x[:: -(-len(x) // _ROWS), place].numpy(force=True)
        values, counts = np.unique(column, return_counts=True)
        common, count = values[counts.argmax()], counts.max()
        if len(values) == 1:
            continue
        if (values == values.round()).all() and len(column) >= 2 * len(values):
            found[place] = f"{names[place]} holds whole numbers, {len(values)} different ones"
        elif count >= max(4, _COMMON * len(column)):
            share = f"{count / len(column):.0%}".replace("%", " %")
            found[place] = f"{names[place]} takes the value {common:g} in {share} of the {unit}"
        elif len(column) >= 50 * len(values):
            found[place] = f"{names[place]} takes {len(values)} different values alone"
    return found


def listed(reasons: Collection[str]) -> str:
    """The first eight of them, and how many there are besides."""
    more = f" and {len(reasons) - 8} more" if len(reasons) > 8 else ""
    return f"{', '.join([*reasons][:8])}{more}"


def _linear(x: Tensor) -> dict[int, list[int]]:
    """Columns that are linear functions of earlier ones, which are not, each with those."""
    rows, columns = x.shape
    eps, x = torch.finfo(x.dtype).eps, x.double()
    chosen = torch.randperm(rows, generator=torch.Generator().manual_seed(0))
    some = x[chosen[: max(4096, 4 * columns)].to(x.device)]
    mean, std = some.mean(0), some.std(0)
    vary = torch.nonzero(std > 0).flatten()
    size = x.square().mean(0).sqrt() / std  # rounding is eps of this
    loose = max(_NOTICEABLE, 4 * eps * float(size[vary].max()))
    # columns of unit length in few dimensions, with the angles that they have in many
    units = torch.linalg.qr((some[:, vary] - mean[vary]) / std[vary]).R / len(some) ** 0.5
    found: dict[int, list[int]] = {}
    if units.diagonal().abs().min() > loose:
        return found
    kept: list[int] = []
    basis = torch.zeros_like(units)
    for at, place in enumerate(vary.tolist()):
        axes, rest = basis[:, : len(kept)], units[:, at]
        for _ in range(2):  # twice is enough (Kahan)
            rest = rest - axes @ (axes.T @ rest)
        if rest.norm() > loose:
            basis[:, len(kept)] = rest / rest.norm()
            kept.append(at)
            continue
        triangle = axes.T @ units[:, kept]
        slopes = torch.linalg.solve_triangular(
            triangle, (axes.T @ units[:, at])[:, None], upper=True
        )
        sources, slopes = vary[kept], slopes[:, 0]
        noise = eps * (size[place] + (slopes.abs() * size[sources]).sum())
        allowed = max(_NOTICEABLE, float(noise))
        whole = (x[:, sources] - mean[sources]) / std[sources]  # all rows, not only some
        error = (x[:, place] - mean[place]) / std[place] - whole @ slopes
        if error.square().mean().sqrt() <= allowed:
            found[place] = sources[slopes.abs() > 3 * allowed].tolist()
    return found
