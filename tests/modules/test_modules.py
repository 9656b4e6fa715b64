"""Every module against every proof; a new one is a line in `module_cases.py`."""

import pytest
from module_cases import CASES

from lightning_flows import modules
from lightning_flows.modules import FlowModule
from proofs.common import pairs
from proofs.module import PROOFS
from proofs.module_case import made

pytestmark = pytest.mark.filterwarnings(
    "ignore:.*(val_dataloader|Total length of|exists and is not empty|sanity check|overfit)",
    "ignore:.*(barebones|log_every_n_steps|lr_scheduler.step|ended|many workers|train_batches)",
    "ignore:Conjugate gradients left",
)


@pytest.mark.parametrize(("prove", "case"), pairs(CASES, PROOFS))
def test_module(prove, case):
    prove(case)


def test_all_modules_are_here():
    exported = {getattr(modules, name) for name in modules.__all__}
    classes = {each for each in exported if isinstance(each, type) and issubclass(each, FlowModule)}
    built = {type(made(case)[0]) for case in CASES.values()}
    assert built == classes - {FlowModule, modules.InjectiveModule}
