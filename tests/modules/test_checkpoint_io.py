"""A checkpoint is written whole or not at all, and runs no code when it is read."""

import errno
import os
import pickle

import pytest
import torch

from lightning_flows.core.errors import CheckpointError
from lightning_flows.modules.checkpoint_io import AtomicCheckpointIO

CONTENT = {"state_dict": {"w": torch.arange(4.0)}, "global_step": 7}


@pytest.fixture
def path(tmp_path):
    return tmp_path / "run" / "last.ckpt"


def test_what_is_written_is_read_and_nothing_else_is_left(path, monkeypatch):
    monkeypatch.setenv("TMPDIR", str(path.parent / "nowhere"))
    io = AtomicCheckpointIO()
    io.save_checkpoint(CONTENT, path)
    io.save_checkpoint({**CONTENT, "global_step": 8}, str(path))
    assert io.load_checkpoint(path)["global_step"] == 8
    assert [entry.name for entry in path.parent.iterdir()] == ["last.ckpt"]


@pytest.mark.parametrize("error", [OSError(errno.ENOSPC, "No space left on device"), None])
def test_a_full_disk_is_said_in_a_sentence_and_nothing_is_lost(path, monkeypatch, error):
    io = AtomicCheckpointIO()
    io.save_checkpoint(CONTENT, path)

    def full(content, file):
        file.write(b"half")
        raise error or RuntimeError("[enforce fail at inline_container.cc:664] . unexpected pos 64")

    monkeypatch.setattr(torch, "save", full)
    with pytest.raises(CheckpointError) as caught:
        io.save_checkpoint({"global_step": 8}, path)
    assert str(caught.value) == (
        f"The checkpoint last.ckpt could not be written to {path.parent}: the disk is full. "
        "Files that were there are as they were."
    )
    assert io.load_checkpoint(path)["global_step"] == 7
    assert [entry.name for entry in path.parent.iterdir()] == ["last.ckpt"]


def test_a_folder_that_cannot_be_written_is_named(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(CheckpointError, match=f"could not be written to {tmp_path}/file"):
        AtomicCheckpointIO().save_checkpoint(CONTENT, tmp_path / "file" / "last.ckpt")


class Killed(BaseException):
    """Ends a write as SIGKILL would: nothing cleans up."""


def test_a_writer_that_is_killed_leaves_a_file_that_can_be_read(path, monkeypatch):
    io = AtomicCheckpointIO()
    io.save_checkpoint(CONTENT, path)

    def killed(content, file):
        file.write(b"half")
        raise Killed

    with monkeypatch.context() as patch:
        patch.setattr(torch, "save", killed)
        with pytest.raises(Killed):
            io.save_checkpoint({"global_step": 8}, path)
    assert len(list(path.parent.iterdir())) == 2
    assert io.load_checkpoint(path)["global_step"] == 7
    io.save_checkpoint({**CONTENT, "global_step": 9}, path.with_name("best.ckpt"))
    assert sorted(entry.name for entry in path.parent.iterdir()) == ["best.ckpt", "last.ckpt"]


class Shout:
    def __reduce__(self):
        return os.mkdir, ("executed",)


def test_reading_runs_no_code(path, monkeypatch):
    path.parent.mkdir()
    monkeypatch.chdir(path.parent)
    path.write_bytes(pickle.dumps({"state_dict": Shout()}, protocol=2))
    with pytest.raises(CheckpointError, match=r"holds Python objects .* none of them") as caught:
        AtomicCheckpointIO().load_checkpoint(path)
    assert "weights_only" not in str(caught.value)  # which torch advises to turn off
    with pytest.raises(CheckpointError, match="run code"):
        AtomicCheckpointIO().load_checkpoint(path, weights_only=False)
    assert not (path.parent / "executed").exists()
