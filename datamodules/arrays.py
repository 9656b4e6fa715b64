"""One's own data: arrays in memory, .npy and .npz files, tables."""

from collections.abc import Mapping, Sequence
from math import pi
from typing import Any, Literal

import torch
from torch import Tensor

from lightning_flows.core.errors import ConfigError, DataError
from lightning_flows.core.support import REAL, Support
from lightning_flows.transforms.base import Transform
from lightning_flows.transforms.bijections.standardize import Standardize
from lightning_flows.transforms.chain import Chain
from lightning_flows.transforms.surjections.dequantize import Dequantize
from lightning_flows.transforms.surjections.entries import OnEntries

from .base import FlowDataModule, Splits, split_indices
from .readers.columns import (
    check_integers,
    in_one_precision,
    warn_of_repeated,
    with_categories_of_training,
    with_columns_of_training,
    without_redundant,
)
from .readers.context import context_apart, refuse_constant_context
from .readers.files import Table, as_table, read_tables
from .readers.options import plain
from .readers.ranges import column_ranges

__all__ = ["Arrays"]


class Arrays(FlowDataModule):
    """Numbers from a file or from memory, one data point a row.

    Files are .npy, .npz, .csv, .tsv and .parquet. Numbers become float32, or float64 where float32
    would make values equal that differ (timestamps, long whole numbers); `preprocess` then does its
    work in float64, and its output may be cast. The training data comes from `path` or `data`;
    validation and test data from `val_path` and `test_path`, from arrays named val and test
    beside one named train (in an .npz file or a mapping), or else are cut out of the training
    data at random.

    Args:
        path: file of the training data.
        data: instead of a file: a tensor, an array or a data frame, or a mapping of "train",
            "val" and "test" to those.
        val_path: file of the validation data; its columns are matched by their names.
        test_path: file of the test data.
        key: name of the array in an .npz file.
        columns: names or positions of the columns to keep; all by default.
        categorical: names or positions of columns of categories, text or numbers. They become
            numbers from 0 up, are not standardized, and need a `MixedFlow` with `classes`.
        dequantize: names or positions of columns of whole numbers, which have no density; true for
            all columns, or for the pixels of images. A whole number k becomes uniform on
            [k, k + 1) in `preprocess`, and log-densities are lower bounds of the log-probability
            of the whole numbers. Samples are whole numbers again.
        context: names or positions of columns that the density is conditioned on, p(x | context):
            they are no part of x. Columns of real numbers are standardized where x is; a column
            of categories, named in `categorical` too, becomes a one-hot vector.
        periodic: names or positions of periodic columns, such as angles; true for all columns. In
            `preprocess` they become angles in [-π, π], which `CircularSplineFlow` models; they are
            not standardized.
        period: how much of the unit of periodic columns leads once round: 360 for degrees, 24 for
            hours. Data lies in [0, period], or with negative values in [-period / 2, period / 2].
        bounds: lowest and highest value of columns that have them, by name or position, which are
            logits in `preprocess`, so that no sample lies beyond.
        redundant: what happens to columns of a table that are constant, equal an earlier one, or
            are a linear function of earlier ones, so that no density of full dimension exists:
            refuse them, drop them, or keep them for a flow that learns a manifold (constant ones
            only if not standardized, or with minimum_scale).
        validation: share of the rows to validate on, where no validation data is given.
        test: share of the rows to test on, where no test data is given.
        standardize: preprocess to zero mean and unit variance.
        minimum_scale: least standard deviation that `standardize` divides by, so that constant
            columns and pixels are accepted; 0 refuses them.
        batch_size: rows in a batch, on each device.
        seed: starting point of the split and of the order of training data.

    Attributes:
        column_names: names of the columns of a table, or None.
        categories: the categories of each column that has some, by its name; number i stands for
            the i-th. Those of context are not among them.
        context_names: names of the entries of context, in order, or None; those of a one-hot
            vector are `column=category`.
        context_columns: the columns of context with their categories, or None.
        classes: number of categories of each column, 0 for a real one; empty without categories.

    Raises:
        ConfigError: none or both of path and data, or shares that leave nothing.
        DataError: a file or values that cannot be used, or redundant columns.
    """

    def __init__(
        self,
        path: str | None = None,
        *,
        data: Any = None,
        val_path: str | None = None,
        test_path: str | None = None,
        key: str | None = None,
        columns: list[int | str] | None = None,
        categorical: list[int | str] | None = None,
        dequantize: list[int | str] | bool = False,
        context: list[int | str] | None = None,
        periodic: list[int | str] | bool = False,
        period: float = 2 * pi,
        bounds: dict[int | str, list[float]] | None = None,
        redundant: Literal["refuse", "drop", "keep"] = "refuse",
        validation: float = 0.1,
        test: float = 0.1,
        standardize: bool = True,
        minimum_scale: float = 0.0,
        batch_size: int = 256,
        seed: int = 0,
    ) -> None:
        if (path is None) == (data is None):
            raise ConfigError("Arrays needs either path or data, and not both.")
        for name, share in (("validation", validation), ("test", test)):
            if not 0 <= share < 1:
                raise ConfigError(f"{name} is {share}; accepted are shares from 0 up to 1.")
        if redundant not in ("refuse", "drop", "keep"):
            raise ConfigError(f"redundant is {redundant!r}; accepted are refuse, drop and keep.")
        options: dict[str, Any] = {
            "columns": plain(columns),
            "categorical": () if categorical is None else plain(categorical),
            "dequantize": plain(dequantize),
            "context": () if context is None else plain(context),
        }
        if context is not None and not options["context"]:
            raise ConfigError("context is an empty list; leave it out to condition on nothing.")
        if path is not None:
            tables = read_tables(path, key=key, **options)
        else:
            tables = _tables_in_memory(data, options)
        for split, file in (("val", val_path), ("test", test_path)):
            if file is not None:
                tables[split] = read_tables(file, key=key, **options)["train"]
        tables = with_categories_of_training(with_columns_of_training(tables))
        contexts, context_columns = dict[str, Table](), None
        if context is not None:
            tables, contexts, context_columns = context_apart(tables)
        tables = without_redundant(tables, redundant)
        check_integers(tables)
        train = tables["train"]
        event_shape = tuple(train.values.shape[1:])
        names, categories = train.names, train.categories
        places = [place for place, name in enumerate(names) if name in categories]
        parts = _dequantizing(train)
        ranges = column_ranges(tables, plain(periodic), period, plain(bounds) or {})
        untouched = places
        support: Support = REAL
        if ranges is not None:
            parts.append(ranges)
            untouched, support = [*places, *ranges.periodic], ranges.codomain or REAL
        centered = standardize and len(untouched) < max(len(names), 1)
        if centered:
            parts.append(
                Standardize(
                    event_shape, minimum_scale=minimum_scale, untouched=untouched, support=support
                )
            )
        preprocess = Chain(parts) if len(parts) > 1 else parts[0] if parts else None
        refuses_constant = centered and minimum_scale == 0
        tables = in_one_precision(tables, centered=centered)
        warn_of_repeated(train)
        preprocess_context = None
        if context_columns is not None:
            entries, one_hot = len(context_columns.entries), context_columns.one_hot
            centered = standardize and len(one_hot) < entries
            contexts = in_one_precision(contexts, centered=centered)
            if centered:
                preprocess_context = Standardize(entries, untouched=one_hot)
        super().__init__(
            event_shape,
            context_shape=None if context_columns is None else len(context_columns.entries),
            preprocess=preprocess,
            preprocess_context=preprocess_context,
            batch_size=batch_size,
            seed=seed,
        )
        self.save_hyperparameters(logger=False, ignore=["data"])
        self.column_names = names or None
        self.categories = {names[place]: categories[names[place]] for place in places}
        self.classes = tuple(len(categories.get(name, ())) for name in names) if places else ()
        self._refuses_constant = refuses_constant
        self.context_columns = context_columns
        self.context_names = None if context_columns is None else context_columns.entries
        self._tables, self._contexts = tables, contexts
        self._shares = {"val": validation, "test": test}

    def load(self) -> Splits:
        splits = {name: {"x": table.values} for name, table in self._tables.items()}
        for name, table in self._contexts.items():
            splits[name]["context"] = table.values
        train = splits["train"]
        missing = {
            name: round(share * len(train["x"]))
            for name, share in self._shares.items()
            if name not in splits and share > 0
        }
        if missing:
            pieces = split_indices(len(train["x"]), list(missing.values()), self.seed)
            for name, index in zip(["train", *missing], pieces, strict=True):
                if len(index):
                    splits[name] = {field: values[index] for field, values in train.items()}
        if self.context_columns is not None:
            refuse_constant_context(splits["train"]["context"], self.context_columns)
        if self._refuses_constant and self.column_names is not None:
            real = [i for i, name in enumerate(self.column_names) if name not in self.categories]
            _refuse_constant_columns(
                splits["train"]["x"][:, real], [self.column_names[i] for i in real]
            )
        return splits


def _tables_in_memory(data: Any, options: dict[str, Any]) -> dict[str, Table]:
    if not isinstance(data, Mapping):
        return {"train": as_table(data, "data", **options)}
    unknown = set(data) - {"train", "val", "test"}
    if unknown or "train" not in data:
        raise ConfigError(
            f"data has the entries {', '.join(map(str, data))}; accepted are train, and beside it "
            "val and test."
        )
    return {name: as_table(part, f"data[{name!r}]", **options) for name, part in data.items()}


def _dequantizing(table: Table) -> list[Transform]:
    """The part of the preprocessing that makes whole numbers continuous, where there are some."""
    if not table.integers:
        return []
    event_shape = tuple(table.values.shape[1:])
    places = [place for place, name in enumerate(table.names) if name in table.integers]
    if len(places) == len(table.names):
        return [Dequantize(event_shape, None)]
    return [OnEntries(event_shape, places, Dequantize(len(places), None))]


def _refuse_constant_columns(x: Tensor, names: Sequence[str]) -> None:
    constant = torch.nonzero(x.amax(0) == x.amin(0)).flatten().tolist()
    if constant:
        raise DataError(
            f"Arrays cannot standardize constant columns: {', '.join(names[i] for i in constant)}; "
            "choose others with columns, set redundant to drop, minimum_scale to a positive "
            "number, or standardize to false."
        )
