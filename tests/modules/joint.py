"""Modules of the joint objective, and data of three scales for them."""

from functools import partial

import lightning.pytorch as pl
import pytest
import torch
from module_cases import FREE, PADDED

from lightning_flows import FreeFormModule, RectangularModule
from lightning_flows.datamodules import Arrays

FAMILIES = {
    "free_form": partial(FreeFormModule, FREE, 4),
    "rectangular": partial(RectangularModule, PADDED, 4),
}
each_family = pytest.mark.parametrize("family", FAMILIES)


def table(n=64):
    return Arrays(data=points(n), batch_size=32)


def points(n=64):
    x = torch.randn(n, 4, generator=torch.Generator().manual_seed(1))
    return x * torch.tensor([3.0, 2.0, 1.0, 0.5]) + 1


class Record(pl.Callback):
    """Remembers β after every step, and what is missing of gradients."""

    def __init__(self):
        self.betas, self.missing = [], set()

    def on_after_backward(self, trainer, module):
        self.missing |= {name for name, p in module.named_parameters() if p.grad is None}

    def on_train_batch_end(self, trainer, module, *args):
        self.betas.append(module.beta)
