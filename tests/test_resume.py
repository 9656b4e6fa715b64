"""A run that is resumed in the middle of an epoch is the run, to the bit, for every family."""

from pathlib import Path

import pytest
import torch

from resumed import FAMILIES, compare
from scripts import run_script

every_family = pytest.mark.parametrize("name", FAMILIES)
pytestmark = pytest.mark.filterwarnings("ignore:.*does not have many workers")


def found(folder, rank):
    """What a rank left of both runs."""
    return [torch.load(folder / run / f"rank{rank}.pt") for run in ("whole", "resumed")]


def same(whole, resumed, step):
    """Weights, optimizer, and all that was logged from the step on."""
    for part in ("weights", "optimizer"):
        torch.testing.assert_close(resumed[part], whole[part], rtol=0, atol=0, msg=part)
    left = [entry for entry in whole["logged"] if entry[0] >= step]
    assert left == resumed["logged"]
    assert {name for _, name, _ in left} >= {"train/loss", "val/loss"}


@every_family
def test_one_process(name, tmp_path):
    compare(tmp_path, name, 1)
    whole, resumed = (
        torch.load(tmp_path / name / run / "rank0.pt") for run in ("whole", "resumed")
    )
    same(whole, resumed, step=9)


@pytest.fixture(scope="module")
def two_ranks(tmp_path_factory):
    root = tmp_path_factory.mktemp("two_ranks")
    run_script(Path(__file__).parent / "resumed.py", root)
    return root


@every_family
def test_two_ranks(two_ranks, name):
    for rank in (0, 1):
        whole, resumed = found(two_ranks / name, rank)
        if rank == 0:
            same(whole, resumed, step=2)
        else:
            torch.testing.assert_close(resumed["weights"], whole["weights"], rtol=0, atol=0)
