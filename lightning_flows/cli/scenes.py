"""What commands without a Trainer look at: points of the data that a config names."""

from contextlib import nullcontext
from pathlib import Path
from typing import Any

import torch
import yaml
from lightning.pytorch import LightningDataModule
from torch import Tensor

from lightning_flows.callbacks.base import Scene
from lightning_flows.callbacks.drawing.points import image_scale, points_of, split_of
from lightning_flows.callbacks.drawing.protocols import batch_keys, context_shape
from lightning_flows.cli.beside import guarded
from lightning_flows.cli.parsing import FlowParser, read_yaml
from lightning_flows.cli.runs import config_beside
from lightning_flows.core.errors import ConfigError, DataError
from lightning_flows.modules import FlowModule

__all__ = ["data_of_config", "data_of_run", "scene_of"]


def scene_of(module: FlowModule, data: LightningDataModule, split: str, n: int) -> Scene:
    """What a callback sees in a Trainer, without one."""
    data.prepare_data()
    data.setup("test" if split == "test" else "fit")
    dataset = split_of(data, split)
    if dataset is None:
        raise DataError(f"{type(data).__name__} has no {split} split that can be indexed.")
    conditional, keys = context_shape(module) is not None, batch_keys(module)

    def move(x: Tensor) -> Tensor:
        dtype = torch.get_default_dtype() if x.is_floating_point() else x.dtype
        return x.to(module.device, dtype)

    points = points_of(dataset, n, conditional=conditional, keys=keys)
    return Scene(
        module,
        points,
        image_scale(data, points.x),
        move,
        lambda more: points_of(dataset, more, conditional=conditional, keys=keys),
        lambda _: None,
    )


def data_of_run(ckpt_path: Path) -> Any:
    """The data module that the config of the checkpoint's run names; None without a config."""
    config = config_beside(ckpt_path)
    return None if config is None else data_of_config(config, named=False)


def data_of_config(path: Path, *, named: bool = True) -> Any:
    """The data module that the section `data` of a config names.

    Args:
        path: the config.
        named: whether the user has named it; one that lies beside a checkpoint runs no code.
    """
    try:
        section = (read_yaml(path.read_text()) or {}).get("data")
    except (yaml.YAMLError, AttributeError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path} is no config in YAML.") from error
    if section is None:
        raise ConfigError(f"{path} has no section `data`.")
    parser = FlowParser(prog="lightning-flows components")
    parser.add_subclass_arguments(LightningDataModule, "data", required=True)
    with nullcontext() if named else guarded(section):
        return parser.instantiate_classes(parser.parse_object({"data": section})).data
