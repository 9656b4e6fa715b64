import random
import sys
from pathlib import Path

import numpy as np
import pytest
import rich
import torch

PROOFS = Path(__file__).parent / "proofs"
pytest.register_assert_rewrite(*(f"proofs.{path.stem}" for path in PROOFS.glob("*.py")))


@pytest.fixture(autouse=True)
def same_random_numbers():
    """What a test draws does not depend on which tests ran before it."""
    torch.manual_seed(0)
    np.random.seed(0)  # noqa: NPY002, the global state is what is meant
    random.seed(0)


@pytest.fixture(autouse=True)
def same_streams():
    """A progress bar of a run that was broken off leaves its own in place of these."""
    rich.reconfigure()  # the console that Lightning prints its tables to
    before = sys.stdout, sys.stderr
    yield
    sys.stdout, sys.stderr = before
