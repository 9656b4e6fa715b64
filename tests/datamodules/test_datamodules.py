"""Every data module against every proof; a new one is a line in `data_cases.py`."""

import pytest
from data_cases import CASES

from proofs.common import pairs
from proofs.datamodule import PROOFS


@pytest.mark.parametrize(("prove", "case"), pairs(CASES, PROOFS))
def test_datamodule(prove, case):
    prove(case)
