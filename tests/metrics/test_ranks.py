import importlib.util
import subprocess
import sys
from pathlib import Path

import torch

SCRIPT = Path(__file__).parent / "ranks.py"


def test_two_ranks_find_what_one_finds(tmp_path: Path) -> None:
    spec = importlib.util.spec_from_file_location("ranks", SCRIPT)
    assert spec is not None
    assert spec.loader is not None
    ranks = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(ranks)
    done = subprocess.run(
        [sys.executable, str(SCRIPT), str(tmp_path)],
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-4000:]
    expected = ranks.results(0, 1)
    assert len(expected) == 11
    for rank in (0, 1):
        found = torch.load(tmp_path / f"rank{rank}.pt")
        for name, value in expected.items():
            torch.testing.assert_close(found[name], value, rtol=1e-6, atol=1e-9, msg=name)
