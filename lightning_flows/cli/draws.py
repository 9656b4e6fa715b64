"""What `sample` conditions on, and the tables that it writes."""

from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor

from lightning_flows.callbacks.drawing.protocols import context_shape
from lightning_flows.core.errors import ConfigError
from lightning_flows.core.shapes import size
from lightning_flows.datamodules.readers.context import read_context
from lightning_flows.datamodules.readers.files import Table
from lightning_flows.modules import FlowModule

__all__ = ["TABLES", "Given", "given_by", "write_table"]

TABLES = (".csv", ".tsv", ".parquet")


class Given(NamedTuple):
    """What samples are conditioned on.

    Args:
        context: (rows, *context_shape), on the module's device; None without context.
        table: the columns of the file that it was read from, or None.
    """

    context: Tensor | None
    table: Table | None = None

    @property
    def rows(self) -> int:
        """How many times as many samples there are as without context."""
        return 1 if self.context is None else len(self.context)

    def draw(self, module: FlowModule, start: int, stop: int, n: int, temperature: float) -> Tensor:
        """Samples start to stop of n for each row, rows in order: (stop - start, *event_shape)."""
        if self.context is None:
            return module.sample(stop - start, None, temperature)
        if self.rows == 1:  # of one row all draws at once, as `module.sample` does
            return module.sample(stop - start, self.context, temperature)[0]
        rows = torch.arange(start, stop, device=self.context.device) // n
        return module.sample(1, self.context[rows], temperature)[:, 0]


def given_by(module: FlowModule, label: int | None, file: Path | None, data: Any) -> Given:
    """What the options label and context ask for.

    Args:
        module: the model.
        label: a class, or None.
        file: file of context, or None.
        data: data module of the run, which may know the columns of context, or None.

    Raises:
        ConfigError: an option is missing, conflicts with the other one or does not fit the model.
        DataError: the file cannot be used.
    """
    shape = context_shape(module)
    if label is not None and file is not None:
        raise ConfigError("label and context are both given; give one of them.")
    if shape is None:
        if label is not None or file is not None:
            option = "label" if file is None else "context"
            raise ConfigError(
                f"{option} was given, but the model is not conditioned on anything; leave it out."
            )
        return Given(None)
    if file is not None:
        columns = getattr(data, "context_columns", None)
        context, table = read_context(str(file), columns, size(shape))
        if module.device.type == "mps":  # has no float64
            context = context.float()
        return Given(context.reshape(-1, *shape).to(module.device), table)
    one_hot = len(shape) == 1 and module.preprocess_context is None
    if label is None or not one_hot or not 0 <= label < shape[0]:
        raise ConfigError(
            f"The model is conditioned on context of shape {tuple(shape)} and label is {label}; "
            "accepted are labels of one-hot context, from 0 up to its length, or rows of context "
            "in a file that --context names."
        )
    context = torch.nn.functional.one_hot(torch.tensor([label]), shape[0])
    return Given(context.to(module.device, torch.get_default_dtype()))


def write_table(path: Path, samples: Tensor, context: Table | None, n: int, data: Any) -> None:
    """Write samples one a row, with the context of each behind them.

    Columns have the names of the data where those are known, else x0, x1 and so on; numbers of
    categories are written as the categories.

    Args:
        path: .csv, .tsv or .parquet; folders above it are made.
        samples: (rows of context · n, features).
        context: columns of context (rows, columns), or None.
        n: number of samples for each row of context.
        data: data module of the run, which may know names and categories, or None.
    """
    import pandas as pd

    names = getattr(data, "column_names", None) or ()
    if len(names) != samples.shape[1]:
        names = tuple(f"x{place}" for place in range(samples.shape[1]))
    columns = _columns(Table(samples, names, getattr(data, "categories", {})))
    if context is not None:
        shown = context
        if all(name.isdecimal() for name in context.names):
            shown = context._replace(names=tuple(f"context{name}" for name in context.names))
        columns |= _columns(shown._replace(values=shown.values.repeat_interleave(n, 0)))
    frame = pd.DataFrame(columns)
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.suffix == ".parquet":
        frame.to_parquet(path, index=False)
    else:
        frame.to_csv(path, index=False, sep="\t" if path.suffix == ".tsv" else ",")


def _columns(table: Table) -> dict[str, Any]:
    """Columns by name, with categories in place of their numbers."""
    found: dict[str, Any] = {}
    for place, name in enumerate(table.names):
        column = table.values[:, place]
        labels = table.categories.get(name)
        if labels is None:
            found[name] = (
                column.float().numpy() if column.dtype == torch.bfloat16 else column.numpy()
            )
        else:
            found[name] = [labels[number] for number in column.long().tolist()]
    return found
