"""What a run has unless its config says otherwise: a logger, a name, guards and pictures."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import yaml
from jsonargparse import Namespace
from lightning.pytorch import Callback

from lightning_flows.callbacks import (
    DensityPlot,
    FlowCallback,
    NonFiniteGuard,
    ReconstructionGrid,
    SampleGrid,
)
from lightning_flows.callbacks.drawing.surfaces import surface_of
from lightning_flows.cli.parsing import read_yaml
from lightning_flows.modules import FlowModule
from lightning_flows.modules.preprocessing import brought_by

__all__ = ["PICTURES", "RUNS", "TRAINER", "default_callbacks", "drawing_interval", "name_of_run"]

RUNS = "runs"
"""Folder of all runs, below trainer.default_root_dir where that is set."""

TRAINER: dict[str, Any] = {
    "logger": {
        "class_path": "lightning.pytorch.loggers.TensorBoardLogger",
        "init_args": {"save_dir": RUNS, "name": None, "default_hp_metric": False},
    },
}
"""Options of the Trainer; a logger without a name is given that of the run."""

PICTURES = (
    "Draw samples about five times in a run and at its end; also reconstructions where the model "
    "has a manifold, and the density where data lies in the plane, on the sphere, on the torus of "
    "two angles or on the simplex of three shares. A callback of the same class in "
    "trainer.callbacks replaces that of the default; those listed there draw in any case."
)

DRAWINGS = 5  # in a run, by default


def name_of_run(config: Namespace) -> str:
    """Name of the folder in which runs of a config lie beside each other.

    The first file of the command line that names a model gives its folder and its stem, so that
    `configs/digits/rectangular.yaml` becomes `digits-rectangular`. Without one it is made of data
    and flow, such as `moons-realnvp`.

    Args:
        config: of a subcommand, parsed.
    """
    for file in config.get("config") or []:
        if file is not None and _names_a_model(Path(file.absolute)):
            path = Path(file.absolute)
            return "-".join(filter(None, (path.parent.name, path.stem)))
    parts = (_name_of_data(config.get("data")), _class_of(_option(config.get("model"), "flow")))
    return "-".join(part.lower() for part in parts if part) or "run"


def default_callbacks(
    model: FlowModule,
    data: Any,
    configured: Sequence[Callback],
    every_n_epochs: int,
    *,
    pictures: bool,
) -> list[Callback]:
    """The callbacks that a run has beside those of its config.

    Args:
        model: what is trained.
        data: what it is trained on, a data module.
        configured: callbacks of the config. One of the same class, or that writes to the same
            folder of pictures, stands in for a default.
        every_n_epochs: how often to draw; 0 draws at the end of fit only.
        pictures: whether to draw at all.
    """
    defaults: list[Callback] = [NonFiniteGuard()]
    if pictures:
        defaults += _drawing(model, data, every_n_epochs)
    classes = tuple(type(callback) for callback in configured)
    names = {callback.name for callback in configured if isinstance(callback, FlowCallback)}
    return [
        default
        for default in defaults
        if not any(issubclass(each, type(default)) for each in classes)
        and not (isinstance(default, FlowCallback) and default.name in names)
    ]


def drawing_interval(trainer: Namespace) -> int:
    """Epochs between two drawings, for about five of them in a run.

    Args:
        trainer: options of the Trainer. Where they leave the number of epochs open, which a limit
            of steps or of time does, every tenth epoch is drawn.
    """
    epochs: int | None = trainer.get("max_epochs")
    if epochs is None and trainer.get("max_steps") in (None, -1) and not trainer.get("max_time"):
        epochs = 1000  # Lightning's own default
    if epochs is None or epochs < 0:
        return 10
    return max(1, -(-epochs // DRAWINGS))


def _drawing(model: FlowModule, data: Any, every_n_epochs: int) -> list[Callback]:
    images = len(model.event_shape) == 3
    n, pairs = (64, 16) if images else (1024, 256)  # points show a distribution by their number
    found: list[Callback] = [SampleGrid(n, every_n_epochs=every_n_epochs)]
    if hasattr(model, "reconstruct"):
        found.append(ReconstructionGrid(pairs, every_n_epochs=every_n_epochs))
    if surface_of(model) or (model.event_shape == (2,) and _has_an_area(model, data)):
        found.append(DensityPlot(every_n_epochs=every_n_epochs))
    return found


def _has_an_area(model: FlowModule, data: Any) -> bool:
    """Whether densities are those of all entries: of no manifold, and of no whole numbers."""
    preprocess = brought_by(data)
    domain = None if preprocess is None else preprocess.domain
    return model.flow.measure == "Lebesgue" and (domain is None or domain.measure == "Lebesgue")


def _names_a_model(path: Path) -> bool:
    """Whether a file says what is trained; overlays say how, or on what."""
    try:
        content = read_yaml(path.read_text())
    except (OSError, UnicodeDecodeError, yaml.YAMLError):
        return False  # no file, such as an address
    return isinstance(content, dict) and _class_of(content.get("model")) != ""


def _name_of_data(data: Any) -> str:
    name = _class_of(data)
    if name == "Toy":
        return str(_option(data, "name"))
    path = _option(data, "path") if name == "Arrays" else None
    return name if path is None else Path(str(path)).stem


def _option(section: Any, name: str) -> Any:
    """An option of what a section of a config names; None where it has none."""
    for part in ("init_args", name):
        section = section.get(part) if isinstance(section, Namespace) else None
    return section


def _class_of(section: Any) -> str:
    """Name of the class that a section of a config names; empty where it names none."""
    path = section.get("class_path") if isinstance(section, dict | Namespace) else section
    return path.rpartition(".")[2] if isinstance(path, str) else ""
