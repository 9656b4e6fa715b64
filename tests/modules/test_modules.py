"""Every module against every proof; a new one is a line in `module_cases.py`."""

import pytest
from module_cases import CASES

from proofs.common import pairs
from proofs.module_scores import PROOFS


@pytest.mark.parametrize(("prove", "case"), pairs(CASES, PROOFS))
def test_module(prove, case):
    prove(case)
