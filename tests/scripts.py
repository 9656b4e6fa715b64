"""What tests in several processes share: forking from pytest is fragile, so scripts are run."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np


def run_script(script: Path, folder: Path, *options: str) -> str:
    """Run a script that leaves what it found in a folder: what it says on stderr.

    A deadlock times out.
    """
    done = subprocess.run(
        [sys.executable, str(script), str(folder), *options],
        capture_output=True,
        text=True,
        timeout=900,
        check=False,
        # what is importable here is so there
        env={**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": os.pathsep.join(sys.path)},
    )
    assert done.returncode == 0, done.stderr[-4000:]
    return done.stderr


def same_drawings(one: Path, two: Path) -> list[Path]:
    """Check that two folders hold equal PNG and NPZ files: their paths in both."""
    files, others = (
        [path.relative_to(root) for path in sorted(root.rglob("*")) if path.is_file()]
        for root in (one, two)
    )
    assert files == others
    for path in files:
        if path.suffix == ".png":
            assert (one / path).read_bytes() == (two / path).read_bytes(), path
        else:
            with np.load(one / path) as left, np.load(two / path) as right:
                assert sorted(left) == sorted(right)
                for key in left:
                    np.testing.assert_array_equal(left[key], right[key], err_msg=f"{path} {key}")
    return files
