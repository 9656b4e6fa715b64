"""Columns of a table with two ends: periodic ones, such as angles, and bounded ones."""

import math
from collections.abc import Collection, Mapping, Sequence

from lightning_flows.core.errors import ConfigError, DataError, check_positive
from lightning_flows.transforms.bijections.ranges import ROUNDING, ColumnRanges

from .categories import places_of
from .files import Table

__all__ = ["column_ranges"]


def column_ranges(
    tables: Mapping[str, Table],
    periodic: Sequence[int | str] | bool,
    period: float,
    bounds: Mapping[int | str, Sequence[float]],
) -> ColumnRanges | None:
    """The part of the preprocessing that leads columns with two ends to where flows model them.

    A period begins at 0, or at minus its half where the data holds negative values.

    Args:
        tables: "train", and maybe "val" and "test".
        periodic: names or positions of periodic columns, or whether all columns are.
        period: how much of their unit leads once round.
        bounds: lowest and highest value of bounded columns, by their names or positions.

    Raises:
        ConfigError: a column that is not there, or is something else too; ends or a period that
            make no sense.
        DataError: values outside of their range, or of one period.
    """
    if not periodic and not bounds:
        return None
    check_positive(period=period)
    train = tables["train"]
    if not train.names:
        raise ConfigError(
            f"periodic and bounds are for tables; the data has shape {tuple(train.values.shape)}."
        )
    others = {"categorical": train.categories, "dequantize": train.integers}
    if periodic is True:
        turning = [*train.names]
    else:
        turning = _named(list(periodic or ()), train, "periodic", others)
    limited = dict(zip(_named([*bounds], train, "bounds", others), bounds.values(), strict=True))
    for name in turning:
        if name in limited:
            raise ConfigError(f"Column {name} is in periodic and in bounds.")
    place = {name: train.names.index(name) for name in train.names}
    transform = ColumnRanges(
        len(train.names),
        periodic={place[name]: _one_period(tables, place[name], name, period) for name in turning},
        bounded={place[name]: ends for name, ends in limited.items()},
    )
    for name in limited:
        low, high = transform.bounded[place[name]]
        _refuse_outside(tables, place[name], low, high, f"bounds of column {name} are", 0.0)
    return transform


def _named(
    columns: Sequence[int | str],
    table: Table,
    option: str,
    others: Mapping[str, Collection[str]],
) -> list[str]:
    """Names of columns that are kept as real ones."""
    if not columns:
        return []
    names = [table.all_names[place] for place in places_of(columns, table.all_names, option)]
    for name in names:
        for other, taken in others.items():
            if name in taken:
                raise ConfigError(f"Column {name} is in {option} and in {other}.")
        if name not in table.names:
            raise ConfigError(f"{option} names column {name}, which is no part of x.")
    return names


def _one_period(
    tables: Mapping[str, Table], place: int, name: str, period: float
) -> tuple[float, float]:
    lowest = min(float(table.values[:, place].min()) for table in tables.values())
    low = 0.0 if lowest >= 0 else -period / 2
    _refuse_outside(
        tables, place, low, low + period, f"one period of column {name} is", ROUNDING * period
    )
    return low, low + period


def _refuse_outside(
    tables: Mapping[str, Table], place: int, low: float, high: float, what: str, slack: float
) -> None:
    for split, table in tables.items():
        column = table.values[:, place].double()
        outside = (column < low - slack) | (column > high + slack)
        if outside.any():
            row = int(outside.nonzero()[0])
            hint = (
                "; for degrees, set period to 360" if math.isclose(high - low, 2 * math.pi) else ""
            )
            raise DataError(
                f"The {split} data holds {column[row]:g} in row {row}; {what} "
                f"{low:g} to {high:g}{hint}."
            )
