"""The default optimizer is fused where it can be; `proofs/module_training.py` has precisions."""

import pytest
from module_cases import CASES

from proofs.module_case import fit

pytestmark = pytest.mark.filterwarnings("ignore:.*lr_scheduler.step")


def test_the_default_is_fused_without_clipping():
    run = fit(CASES["density"], precision="bf16-mixed", max_steps=1)[1]
    assert run.optimizers[0].defaults["fused"]
