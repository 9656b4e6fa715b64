"""Every metric against every proof; a new one is a line in `metric_cases.py`."""

from pathlib import Path

import pytest
import torch
from metric_cases import CASES
from ranks import results
from torchmetrics import Metric

from lightning_flows import metrics
from proofs.common import pairs
from proofs.metric import PROOFS
from scripts import run_script


@pytest.mark.parametrize(("prove", "case"), pairs(CASES, PROOFS))
def test_metric(prove, case):
    prove(case)


def test_all_metrics_are_here() -> None:
    classes = {getattr(metrics, name) for name in metrics.__all__}
    built = {type(case.build()) for case in CASES.values()}
    assert built == {
        kind for kind in classes if isinstance(kind, type) and issubclass(kind, Metric)
    }


def test_two_ranks_find_what_one_finds(tmp_path: Path) -> None:
    run_script(Path(__file__).parent / "ranks.py", tmp_path)
    expected = results(0, 1)
    for rank in (0, 1):
        found = torch.load(tmp_path / f"rank{rank}.pt")
        for name, value in expected.items():
            torch.testing.assert_close(found[name], value, rtol=1e-6, atol=1e-9, msg=name)
