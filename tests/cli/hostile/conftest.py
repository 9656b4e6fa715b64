"""What tests of hostile files share: a folder of a stranger, and a small checkpoint."""

import io
import sys

import lightning.pytorch as pl
import pytest
import torch

from lightning_flows import DensityModule
from lightning_flows.core import trusted
from strangers import EVIL, MODULES, NAMES, SMALL


@pytest.fixture(autouse=True)
def here(tmp_path, monkeypatch):
    """A folder with modules that write a file when they are imported, first on the path."""
    for module in MODULES:
        path = tmp_path / f"{module}.py"
        path.parent.mkdir(exist_ok=True)
        path.write_text(EVIL)
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend("")
    monkeypatch.setattr(trusted, "_trusted", set())
    yield tmp_path
    strange = {*NAMES, "evil_package", "antigravity", "this"}
    for name in strange & set(sys.modules):
        del sys.modules[name]


@pytest.fixture(scope="session")
def content():
    """What a small checkpoint holds."""
    model = DensityModule(SMALL, 2)
    trainer = pl.Trainer(accelerator="cpu", logger=False, enable_checkpointing=False)
    trainer.strategy.connect(model)
    stored = io.BytesIO()
    trainer.save_checkpoint("/dev/null")
    torch.save(trainer._checkpoint_connector.dump_checkpoint(weights_only=True), stored)
    return stored.getvalue()
