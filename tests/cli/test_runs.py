"""Which checkpoint is the newest, and what lies beside it."""

import os

import pytest
import torch

from lightning_flows.cli.runs import config_beside, newest_checkpoint, run_of
from lightning_flows.core.errors import CheckpointError


def write(path, age, content=None):
    path.parent.mkdir(parents=True, exist_ok=True)
    torch.save({"state_dict": {}, "global_step": -age}, path)
    if content is not None:
        path.write_bytes(content)
    os.utime(path, (1e9 - age, 1e9 - age))
    return path


def test_the_newest_last_checkpoint_counts_at_any_depth(tmp_path):
    write(tmp_path / "a" / "version_0" / "checkpoints" / "last.ckpt", age=9)
    newest = write(tmp_path / "a" / "version_1" / "checkpoints" / "last.ckpt", age=5)
    write(tmp_path / "b" / "last.ckpt", age=7)
    write(tmp_path / "b" / "best-003.ckpt", age=1)
    assert newest_checkpoint(tmp_path) == newest


@pytest.mark.parametrize("damage", [b"", b"half", None])
def test_a_damaged_one_gives_way_to_the_one_before(tmp_path, damage):
    best = write(tmp_path / "best-002.ckpt", age=8)
    before = write(tmp_path / "previous.ckpt", age=2)
    last = write(tmp_path / "last.ckpt", age=1, content=damage)
    if damage is None:  # cut off
        last.write_bytes(last.read_bytes()[:-200])
        os.utime(last, (1e9, 1e9))
    with pytest.warns(UserWarning, match=r"last.ckpt is damaged .* The one before it is used"):
        assert newest_checkpoint(tmp_path) == before
    before.unlink()
    with pytest.warns(UserWarning, match="damaged"):
        assert newest_checkpoint(tmp_path) == best
    best.unlink()
    with (
        pytest.warns(UserWarning, match="damaged"),
        pytest.raises(CheckpointError, match=r"No checkpoint in .* can be read"),
    ):
        newest_checkpoint(tmp_path)


def test_no_checkpoint_is_said(tmp_path):
    write(tmp_path / "best-002.ckpt", age=8)
    with pytest.raises(CheckpointError, match=r"no last.ckpt below .*; leave it out"):
        newest_checkpoint(tmp_path)


def test_the_run_of_a_checkpoint_and_its_config(tmp_path):
    path = write(tmp_path / "run" / "checkpoints" / "last.ckpt", age=0)
    assert run_of(path) == tmp_path / "run"
    assert run_of(tmp_path / "elsewhere" / "x.ckpt") == tmp_path / "elsewhere"
    assert config_beside(path) is None
    (tmp_path / "run" / "config.yaml").write_text("seed_everything: 1")
    assert config_beside(path) == tmp_path / "run" / "config.yaml"
