"""A module and the data that it is tried with, and runs of it."""

import tempfile
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import lightning.pytorch as pl
import pytest
import torch
from torch import Tensor, nn

from lightning_flows.core.recipe import Recorded
from lightning_flows.datamodules import FlowDataModule, Splits
from lightning_flows.modules import FlowModule
from lightning_flows.transforms import Standardize


class Table(FlowDataModule):
    """Columns of the scales 1, 5, 30, 0.2, 1 and so on: 155 rows to train on, 31, 31.

    Two ranks cannot share the rows evenly, and the last batch of 16 is short.
    """

    def __init__(self, columns: int = 4, *, batch_size: int = 16) -> None:
        super().__init__(columns, preprocess=Standardize(columns), batch_size=batch_size)
        self.save_hyperparameters()

    def load(self) -> Splits:
        (columns,) = self.event_shape
        x = torch.randn(217, columns, generator=torch.Generator().manual_seed(1))
        scales = torch.tensor([1.0, 5.0, 30.0, 0.2]).repeat(columns)[:columns]
        pieces = (x * scales + 3).split([155, 31, 31])
        return {name: {"x": x} for name, x in zip(("train", "val", "test"), pieces, strict=True)}


class Bowl(Recorded, nn.Module):
    """A target on events of any shape, the same for every context: normals of scale 5."""

    def log_prob(self, x: Tensor, context: Tensor | None = None) -> Tensor:
        return -0.02 * x.flatten(1).square().sum(1)


SOLVES = ("flow matching", "assignment")


class Labels(FlowDataModule):
    """Columns of four classes each, whose rows all differ: 155 rows to train on, 31, 31."""

    def __init__(self, columns: int = 4, *, batch_size: int = 16) -> None:
        super().__init__(columns, batch_size=batch_size)
        self.save_hyperparameters()

    def load(self) -> Splits:
        (columns,) = self.event_shape
        numbers = torch.randperm(4**columns, generator=torch.Generator().manual_seed(1))[:217]
        x = (numbers[:, None] // 4 ** torch.arange(columns) % 4).float()
        pieces = x.split([155, 31, 31])
        return {name: {"x": x} for name, x in zip(("train", "val", "test"), pieces, strict=True)}


class ModuleCase(NamedTuple):
    """A module and the data that it is tried with.

    Args:
        build: the module, given an event shape, a context shape and options by their names; a
            `functools.partial` of a class, which a checkpoint can hold.
        data: a data module, given the batch size; at least ten batches of 16 to train on.
        callbacks: what the module is trained with.
        objective: whether `training_loss` is the objective itself; it is not where it has the
            gradient alone, draws probes or noise, or is one part of it after the other.
        context: whether the module can be given context.
    """

    build: Callable[..., FlowModule]
    data: Callable[..., FlowDataModule] = Table
    callbacks: Callable[[], list[pl.Callback]] = list
    objective: bool = True
    context: bool = True


def of_columns(cases: Mapping[str, ModuleCase]) -> list[Any]:
    """Names of the cases that take rows of real numbers, as arguments of pytest's parametrize.

    All but the first of a name are slow.
    """
    names = []
    for name, case in cases.items():
        model, data = made(case)
        if len(data.event_shape) == 1 and model.flow.measure != "counting":
            names.append(name)
    slow = slow_names(cases)
    return [pytest.param(name, marks=[pytest.mark.slow] * (name in slow)) for name in names]


def slow_names(cases: Mapping[str, ModuleCase]) -> list[str]:
    """All but the first of each name, and what solves equations: `make test-slow` runs them."""
    kinds = [name.partition(" (")[0] for name in cases]
    return [name for i, name in enumerate(cases) if kinds[i] in kinds[:i] or kinds[i] in SOLVES]


def made(case: ModuleCase, **options: Any) -> tuple[FlowModule, FlowDataModule]:
    """The module, always the same, and its data."""
    torch.manual_seed(0)
    data = case.data(batch_size=16)
    return case.build(data.event_shape, data.context_shape, **options), data


def rows(case: ModuleCase, split: str = "train") -> tuple[Tensor, Tensor | None]:
    """Data and context of a split, in original units: 150 rows at most."""
    fields = case.data(batch_size=16).load()[split]
    context = fields.get("context")
    return fields["x"][:150].float(), None if context is None else context[:150]


def drawn(model: FlowModule, seed: int = 2) -> FlowModule:
    """Weights that are moved, because identities would hide mistakes."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in model.flow.parameters():
            parameter += 0.3 * torch.randn(parameter.shape, generator=generator)
    return model


def trainer(**options: Any) -> pl.Trainer:
    """A quiet Trainer on the CPU that writes nothing by itself."""
    defaults: dict[str, Any] = {
        "accelerator": "cpu",
        "default_root_dir": tempfile.gettempdir(),
        "max_epochs": 1,
        "logger": False,
        "enable_checkpointing": False,
        "enable_progress_bar": False,
        "enable_model_summary": False,
        "log_every_n_steps": 1,
    }
    return pl.Trainer(**{**defaults, **options})


def fit(case: ModuleCase, *, loaders: Any = (), **options: Any) -> tuple[FlowModule, pl.Trainer]:
    """The trained module and its trainer; `options` of the module are those with its names."""
    model, data = made(case)
    run = trainer(callbacks=case.callbacks(), **options)
    run.fit(model, *(loaders or (data,)))
    return model, run
