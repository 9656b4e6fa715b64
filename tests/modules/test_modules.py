"""Every module against every proof; a new one is a line in `module_cases.py`."""

import pytest
from module_cases import CASES

from proofs.common import pairs
from proofs.module import PROOFS

pytestmark = pytest.mark.filterwarnings(
    "ignore:.*(val_dataloader|Total length of|exists and is not empty|sanity check|overfit)",
    "ignore:.*(barebones|log_every_n_steps|lr_scheduler.step|ended|many workers|train_batches)",
    "ignore:Conjugate gradients left",
)


@pytest.mark.parametrize(("prove", "case"), pairs(CASES, PROOFS))
def test_module(prove, case):
    prove(case)
