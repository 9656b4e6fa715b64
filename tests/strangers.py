"""Files of strangers: modules, checkpoints and pickles that run something where they can."""

import io
import os
import pickle
import subprocess
import sys
from functools import partial
from pathlib import Path

import lightning.pytorch as pl
import torch

from lightning_flows import RealNVP
from lightning_flows.datamodules import Toy

SMALL = partial(RealNVP, layers=1, hidden=(4,))
EVIL = """
from pathlib import Path
import torch
from lightning_flows import DensityModule, RealNVP
from lightning_flows.datamodules import Toy

Path("executed").touch()

class Flow(RealNVP):
    pass

class Family(DensityModule):
    pass

class Data(Toy):
    pass

def make(*args, **options):
    Path("executed").touch()
"""
MODULES = (
    "evil_module", "lightning_flows_evil", "torch_evil", "lightning_flows/evil", "torch/evil",
    "lightning/evil", "evil_package/part",
)  # fmt: skip
NAMES = [module.replace("/", ".") for module in MODULES]


def checkpoint(content, change=lambda content: None, path="run/x.ckpt"):
    """A checkpoint with something changed in it."""
    read = torch.load(io.BytesIO(content), weights_only=True)
    change(read)
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    torch.save(read, path)
    return path


def unharmed():
    """Whether nothing has run."""
    assert not Path("executed").exists()
    assert not {*NAMES, "antigravity", "this"} & set(sys.modules)


class Payload:
    """Runs something when it is unpickled."""

    def __init__(self, call, *args):
        self.call = call, args

    def __reduce__(self):
        return self.call


PAYLOADS = {
    "os.system": Payload(os.system, "touch executed"),
    "open": Payload(open, "executed", "w"),
    "Popen": Payload(subprocess.Popen, ["touch", "executed"]),
    "eval": Payload(eval, "open('executed', 'w')"),
    "torch.load": Payload(torch.load, "executed"),
}


def pickled(payload, form):
    value = {"state_dict": {}, "x": PAYLOADS[payload]}
    if form == "plain":
        return pickle.dumps(value, protocol=2)
    stored = io.BytesIO()
    torch.save(value, stored, _use_new_zipfile_serialization=form == "zip")
    return stored.getvalue()


def quiet():
    return pl.Trainer(
        accelerator="cpu", logger=False, enable_checkpointing=False, enable_progress_bar=False,
        enable_model_summary=False, max_steps=1,
    )  # fmt: skip


def toy():
    return Toy("moons", n_train=32, n_val=32, n_test=32)
