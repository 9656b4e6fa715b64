"""The overlays in configs/tables, on stand-ins and, where they are at hand, on the real tables."""

import os
import re
import warnings
from pathlib import Path

import numpy as np
import pytest
import yaml
from jsonargparse import ArgumentParser

from lightning_flows.datamodules import Arrays, FlowDataModule

CONFIGS = Path(__file__).parents[2] / "configs" / "tables"
PRESETS = {  # columns of the file, of them used, rows, columns with values that repeat
    "miniboone": (43, 43, 3284, [4]),
    "protein": (10, 10, 45730, [7]),
    "power_plant": (5, 5, 9568, []),
    "naval": (18, 15, 11934, [0, 1, 13, 14, 16, 17]),
    "energy": (9, 8, 768, [0, 1, 2, 4, 5, 6, 7]),
    "yacht": (7, 7, 308, [0, 1, 2, 3, 4, 5]),
    "wine": (12, 12, 1599, [2, 3, 5, 10, 11]),
}


def built(name, repeated=()):
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        data = _built(name)
    said = [str(warning.message) for warning in caught]
    assert len(said) == bool(repeated)
    columns = re.findall(r"column (\d+) (?:holds|takes)", "".join(said))
    assert columns == [*map(str, repeated)][:8]
    return data


def _built(name):
    parser = ArgumentParser(exit_on_error=False)
    parser.add_subclass_arguments(FlowDataModule, "data")
    parsed = parser.parse_object(yaml.safe_load((CONFIGS / f"{name}.yaml").read_text()))
    build = getattr(parser, "instantiate", parser.instantiate_classes)  # new name since 4.49
    data = build(parsed).data
    assert isinstance(data, Arrays)
    data.setup()
    return data


def rows(data):
    loaders = data.train_dataloader(), data.val_dataloader(), data.test_dataloader()
    return [len(loader.dataset) for loader in loaders]


def test_every_overlay_is_tested():
    assert {path.stem for path in CONFIGS.glob("*.yaml")} == set(PRESETS)


@pytest.mark.parametrize("name", PRESETS)
def test_on_a_stand_in(name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    columns, used, *_ = PRESETS[name]
    options = yaml.safe_load((CONFIGS / f"{name}.yaml").read_text())["data"]["init_args"]
    x = np.random.default_rng(0).normal(size=(50, columns))
    if name == "naval":
        x[:, [8, 11]], x[:, 6] = 1, x[:, 5]
    for path in (options["path"], options.get("test_path", options["path"])):
        Path(path).parent.mkdir(parents=True, exist_ok=True)
        np.savez(path, data=x) if path.endswith(".npz") else np.save(path, x)
    data = built(name)
    assert data.event_shape == (used,)
    assert rows(data) == ([45, 5, 50] if name == "miniboone" else [40, 5, 5])
    assert (data.preprocess is None) == (name == "miniboone")


@pytest.mark.parametrize("name", PRESETS)
def test_on_the_real_table(name, tmp_path, monkeypatch):
    folder = os.environ.get("LIGHTNING_FLOWS_DATA")
    if folder is None:
        pytest.skip("LIGHTNING_FLOWS_DATA is not set")
    monkeypatch.chdir(tmp_path)
    (tmp_path / "data").symlink_to(folder)
    options = yaml.safe_load((CONFIGS / f"{name}.yaml").read_text())["data"]["init_args"]
    if not Path(options["path"]).exists():
        pytest.skip(f"{options['path']} is not there")
    _, used, total, repeated = PRESETS[name]
    data = built(name, repeated)
    assert data.event_shape == (used,)
    assert sum(rows(data)) == total + (3648 if name == "miniboone" else 0)
    x = data.train_dataloader().dataset.tensors["x"].double()
    x = (x - x.mean(0)) / x.std(0)
    assert np.linalg.matrix_rank(x.numpy(), rtol=1e-5) == used
