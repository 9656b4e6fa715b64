"""Every module on two ranks against every proof: two processes do what one does."""

import pytest
from module_cases import CASES

from proofs.module_ranks import crossed, runs_of


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    return runs_of(CASES, "module_cases", lambda: tmp_path_factory.mktemp("runs"))


@pytest.mark.parametrize(("prove", "name"), crossed(CASES))
def test_two_ranks(prove, name, runs):
    prove(runs(name), CASES[name])
