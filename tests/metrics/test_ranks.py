import importlib.util
from pathlib import Path

import torch

from scripts import run_script

SCRIPT = Path(__file__).parent / "ranks.py"


def test_two_ranks_find_what_one_finds(tmp_path: Path) -> None:
    spec = importlib.util.spec_from_file_location("ranks", SCRIPT)
    assert spec is not None
    assert spec.loader is not None
    ranks = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(ranks)
    run_script(SCRIPT, tmp_path)
    expected = ranks.results(0, 1)
    assert len(expected) == 15
    for rank in (0, 1):
        found = torch.load(tmp_path / f"rank{rank}.pt")
        for name, value in expected.items():
            torch.testing.assert_close(found[name], value, rtol=1e-6, atol=1e-9, msg=name)
