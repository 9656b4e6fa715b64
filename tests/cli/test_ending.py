"""What a command ends with, by what has stopped it."""

import signal
from types import SimpleNamespace

import pytest
from lightning.pytorch.strategies.launchers import _MultiProcessingLauncher
from lightning.pytorch.utilities.exceptions import SIGTERMException
from torch.multiprocessing.spawn import ProcessExitedException

from lightning_flows.cli.ending import exit_status


def during(error, other):
    """An error that is raised while another one is handled."""
    error.__context__ = other
    return error


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (SIGTERMException(), 143),
        (KeyboardInterrupt(), 130),
        (during(SystemExit(1), KeyboardInterrupt()), 130),  # as Lightning ends after Ctrl+C
        (SystemExit(143), 143),
        (SystemExit(129), 129),
        (SystemExit(128), None),
        (SystemExit(2), None),
        (SystemExit("a sentence"), None),
        (SystemExit(None), None),
        (ValueError("anything"), None),
    ],
)
@pytest.mark.parametrize("told", [False, True])
def test_one_process(error, status, told):
    assert exit_status(error, SimpleNamespace(told=told)) == (1 if told else status)


@pytest.mark.parametrize(
    ("codes", "status"),
    [
        ((0, 143), 143),
        ((130, 0, 143), 143),
        ((143, 1), 1),  # an error that one rank has told
        ((-signal.SIGTERM, 1), 1),  # which torch sends to those that are left
        ((0, -signal.SIGTERM), 143),
        ((-signal.SIGTERM, -signal.SIGKILL, 1), 137),
        ((3, None), 3),
    ],
)
def test_forked_ranks(codes, status, capsys):
    launcher = _MultiProcessingLauncher.__new__(_MultiProcessingLauncher)
    launcher.procs = [SimpleNamespace(exitcode=code) for code in codes]
    trainer = SimpleNamespace(strategy=SimpleNamespace(launcher=launcher))
    error = ProcessExitedException("", error_index=0, error_pid=0, exit_code=1)
    assert exit_status(error, trainer) == status
    killed = "error: rank 1 was ended by SIGKILL.\n" if -signal.SIGKILL in codes else ""
    assert capsys.readouterr().err == killed
