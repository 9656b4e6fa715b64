"""Which optimizer a module has where none is given."""

import pytest
import torch
from lightning.pytorch import Trainer

from lightning_flows.modules.optimizers import default_optimizer


@pytest.mark.parametrize(
    ("options", "fused"),
    [
        (None, True),
        ({"gradient_clip_val": 1.0}, True),
        ({"precision": "bf16-mixed"}, True),
        ({"precision": "bf16-mixed", "gradient_clip_val": 1.0}, False),
    ],
)
def test_adam_is_fused_but_where_lightning_refuses_that(
    options: dict[str, object] | None, fused: bool
) -> None:
    quiet = {"accelerator": "cpu", "logger": False, "enable_checkpointing": False}
    trainer = None if options is None else Trainer(**quiet, **options)
    optimizer = default_optimizer(trainer)([torch.nn.Parameter(torch.zeros(2))])
    assert type(optimizer) is torch.optim.Adam
    assert (optimizer.defaults["lr"], optimizer.defaults["fused"]) == (1e-3, fused)
