"""What tests of the command line share: a folder of their own, and one run of the moons."""

import pytest

from command_lines import train


@pytest.fixture(autouse=True)
def here(tmp_path, monkeypatch):
    """Runs write below the working folder unless told otherwise."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture(scope="session")
def trained(tmp_path_factory):
    """A run of the moons: its CLI object and its last checkpoint, both to be read only."""
    return train(tmp_path_factory.mktemp("trained"))


@pytest.fixture
def checkpoint(trained):
    return trained[1]


@pytest.fixture
def alone(checkpoint, here):
    """A checkpoint without a config beside it."""
    path = here / "alone.ckpt"
    path.write_bytes(checkpoint.read_bytes())
    return path
