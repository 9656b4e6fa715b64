"""The comparison on data with symmetries runs, and compares flows of one size."""

import pytest

from experiments.common import pairs
from experiments.common.results import Results
from experiments.symmetry import run as symmetry
from experiments.symmetry.page import page


def test_every_case_is_reported(tmp_path, monkeypatch):
    sizes = {"n_train": 50, "n_val": 0, "n_test": 20}
    monkeypatch.setattr(pairs, "ROWS", sizes)
    out = tmp_path / "results.json"
    symmetry.main(["--seeds", "2", "--steps", "1", "--out", str(out)])
    results = Results.load(out)
    best = [run["best"] for run in results.runs if run["data"] == "sets"]
    assert best[0] == best[1] != best[2]  # both flows see the points of their seed
    rows = page(results).rows
    assert [row[0] for row in rows] == [case.data for case in symmetry.CASES]
    assert all(" to " in row[5] for row in rows)


@pytest.mark.parametrize("case", symmetry.CASES, ids=lambda case: case.data)
def test_both_flows_have_the_same_size(case):
    first, second = case.sizes
    assert abs(first - second) <= 0.05 * first
