"""Every callback against every proof; a new one is a line of `CASES` in `callback_cases.py`."""

import pytest
from callback_cases import CASES
from lightning.pytorch import Callback

from lightning_flows import callbacks
from proofs.callback import PROOFS
from proofs.common import pairs

pytestmark = pytest.mark.filterwarnings(
    "ignore:.*(does not have many workers|module.s. in eval mode at the start|LeafSpec)",
    "ignore:.*(exists and is not empty|train_batches|self.log.*with .prog_bar|in `test_step`)",
)


@pytest.mark.parametrize(("prove", "case"), pairs(CASES, PROOFS))
def test_callback(prove, case):
    prove(case)


def test_all_callbacks_are_here():
    built = {type(case.build((2,))).__name__ for case in CASES.values()}
    exported = {name: getattr(callbacks, name) for name in callbacks.__all__}
    classes = {n for n, c in exported.items() if isinstance(c, type) and issubclass(c, Callback)}
    assert built == classes - {"FlowCallback"}
