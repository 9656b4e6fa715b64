"""Results are files of plain figures that say how they were made."""

import json
import math
from argparse import Namespace
from pathlib import Path

from experiments.common.results import Results, chosen, finite


def test_a_file_holds_every_run_and_its_command(tmp_path):
    path = tmp_path / "new" / "results.json"
    options = Namespace(seeds=2, only=["a", "b"], steps=None, data=Path("x"), out=path)
    results = Results.begin(options, "tables", beta=2.0)
    results.add(path, method="a", seed=0, error=math.nan, scales=[1.0, math.inf])
    results.add(path, method="b", seed=0, error=0.5)
    stored = json.loads(path.read_text("utf-8"))
    assert stored["command"] == (
        "LIGHTNING_FLOWS_DATA=data python -m experiments.tables.run --seeds 2 --only a b"
    )
    assert stored["runs"][0] == {"method": "a", "seed": 0, "error": None, "scales": [1.0, None]}
    assert stored["cpu_seconds"] > 0
    assert set(stored["versions"]) == {"torch", "lightning"}
    assert Results.load(path) == results


def test_runs_are_chosen_by_their_entries():
    runs = [{"method": "a", "kl": 1.0}, {"method": "a", "kl": None}, {"method": "b", "kl": 3.0}]
    assert finite(chosen(runs, method="a"), "kl") == [1.0]
    assert chosen(runs, method="c") == []
