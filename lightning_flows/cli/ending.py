"""How a command ends: signals reach all processes, errors are told once, and the status says which.

Lightning's own handling of SIGTERM talks to the other ranks from within the handler, which stalls
them where they wait for something else; it exits with 0 after SIGTERM and with 1 after SIGINT. An
error on one rank breaks the connection of all others, and what they say then hides the error.
"""

import os
import re
import signal
import subprocess
import sys
import threading
import time
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from types import FrameType
from typing import Any

import torch.multiprocessing as mp
from lightning.fabric.strategies.launchers.subprocess_script import _ChildProcessObserver
from lightning.pytorch import Trainer
from lightning.pytorch.strategies.launchers import (
    _MultiProcessingLauncher,
    _SubprocessScriptLauncher,
)
from lightning.pytorch.utilities.exceptions import SIGTERMException
from torch.distributed import DistError
from torch.multiprocessing.spawn import ProcessExitedException, ProcessRaisedException

from lightning_flows.cli.parsing import reason, shows_tracebacks, what_the_user_can_mend

__all__ = ["RankTrainer", "exit_status", "forwarding"]

BROKEN = "gloo|NCCL|Connection (closed|reset) by peer|Broken pipe|TCPStore"
"""What a rank says that has lost the others; gloo raises plain RuntimeErrors."""

PATIENCE = 2.0  # seconds until the end of another process is known to the system
LEAVING = 5.0  # seconds that other processes have to end by themselves, then twice that


class RankTrainer(Trainer):
    """A Trainer whose ranks say what went wrong before they wait for each other."""

    told = False
    """Whether standard error has been told what went wrong."""

    def _run(self, *args: Any, **options: Any) -> Any:
        # in place of a handler that talks to other ranks
        vars(self._signal_connector)["_sigterm_notifier_fn"] = _leave
        for observer in _observers():
            vars(observer).setdefault("_terminate_all", partial(_terminate_later, observer))
        try:
            return super()._run(*args, **options)
        except Exception as error:  # told here, where ranks may hide it, and raised again
            if self.world_size > 1:
                self.told = True
                _tell(self, error)
            raise


@contextmanager
def forwarding(trainer: Trainer) -> Iterator[None]:
    """End on SIGTERM while it lasts, with all processes that were started to train.

    Forked ranks save, end, and are waited for. A callback that trains may note the signal instead,
    and end later. SIGINT of a terminal reaches all processes by itself; where ranks are forked, it
    is waited for.
    """
    launcher = trainer.strategy.launcher
    if threading.current_thread() is not threading.main_thread():
        yield  # Python lets no other thread have signals
        return
    own = os.getpid()
    forks = isinstance(launcher, _MultiProcessingLauncher)

    def hand_on(number: int, frame: FrameType | None) -> None:
        ranks = mp.active_children() if forks and os.getpid() == own else []
        for rank in ranks:
            if rank.pid is not None:
                os.kill(rank.pid, number)
        if not ranks:  # their end is that of the command
            _leave(number, frame)

    numbers = (signal.SIGTERM, signal.SIGINT) if forks else (signal.SIGTERM,)
    before: dict[int, Any] = {number: signal.signal(number, hand_on) for number in numbers}
    try:
        yield
    except BaseException:
        if isinstance(launcher, _SubprocessScriptLauncher):
            _end(launcher.procs)
        raise
    finally:
        if os.getpid() == own:
            for number, handler in before.items():
                signal.signal(number, handler)


def exit_status(error: BaseException, trainer: Trainer) -> int | None:
    """Status of a command that was stopped by a signal, or that has told what went wrong.

    Returns:
        128 + number of the signal; 1 after an error that was told; None of any other.
    """
    if isinstance(error, ProcessExitedException | ProcessRaisedException):
        return _status_of_ranks(trainer)
    if getattr(trainer, "told", False):
        return 1
    if isinstance(error, SIGTERMException):
        return 128 + signal.SIGTERM
    if isinstance(error, KeyboardInterrupt) or isinstance(error.__context__, KeyboardInterrupt):
        return 128 + signal.SIGINT
    if isinstance(error, SystemExit) and isinstance(error.code, int) and error.code > 128:
        return error.code
    return None


def _observers() -> list[_ChildProcessObserver]:
    """Threads of Lightning that kill this process as soon as a rank that it started has failed."""
    return [t for t in threading.enumerate() if isinstance(t, _ChildProcessObserver)]


def _terminate_later(observer: _ChildProcessObserver) -> None:
    """Leave this process the time to say who failed, and end it only where it hangs."""
    time.sleep(4 * LEAVING)
    if observer._child_processes:  # else `_end` has seen to them
        type(observer)._terminate_all(observer)


def _leave(number: int, frame: FrameType | None) -> None:
    raise SystemExit(128 + number)


def _tell(trainer: Trainer, error: Exception) -> None:
    """Write at once what went wrong on this rank, and where unless the user can mend it."""
    rank = trainer.global_rank
    if isinstance(error, DistError) or (
        isinstance(error, RuntimeError) and re.search(BROKEN, str(error))
    ):
        _write(f"error: rank {rank} stops, because {_who_failed(trainer)}.", error)
        return
    sentence = what_the_user_can_mend(error)
    _write(f"error: rank {rank}: {sentence or reason(error)}", error, always=sentence is None)


def _write(line: str, error: Exception, *, always: bool = False) -> None:
    shown = "".join(traceback.format_exception(error)) if always or shows_tracebacks() else ""
    sys.stderr.write(f"{line}\n{shown}")  # in one piece: other ranks write, too
    sys.stderr.flush()


def _who_failed(trainer: Trainer) -> str:
    """The rank that a signal has ended, where this one has started it."""
    launcher = trainer.strategy.launcher
    procs = launcher.procs if isinstance(launcher, _SubprocessScriptLauncher) else []
    deadline = time.monotonic() + PATIENCE
    while procs and time.monotonic() < deadline:
        for place, process in enumerate(procs, 1):
            if process.poll() is not None and process.returncode < 0:
                name = signal.Signals(-process.returncode).name
                return f"rank {trainer.global_rank + place} was ended by {name}"
            if process.poll():
                return "another rank has failed"
        time.sleep(0.05)
    return "another rank has failed"


def _status_of_ranks(trainer: Trainer) -> int:
    """What forked ranks ended with: a signal that nobody handled goes before all else."""
    launcher = trainer.strategy.launcher
    assert isinstance(launcher, _MultiProcessingLauncher)
    codes = [process.exitcode or 0 for process in launcher.procs]
    for rank, code in enumerate(codes):
        if code < 0 and code != -signal.SIGTERM:  # which torch sends to those that are left
            name = signal.Signals(-code).name
            sys.stderr.write(f"error: rank {rank} was ended by {name}.\n")
            return 128 - code
    if 1 in codes:
        return 1
    return max(code if code >= 0 else 128 - code for code in codes)


def _end(procs: list["subprocess.Popen[Any]"]) -> None:
    """Wait for processes to end, and see to it that they do."""
    for observer in _observers():
        observer._child_processes = []  # ended here, so that nothing is left to kill
    for number, patience in ((signal.SIGTERM, LEAVING), (signal.SIGKILL, 2 * LEAVING)):
        deadline = time.monotonic() + patience
        for process in procs:
            try:
                process.wait(max(0.0, deadline - time.monotonic()))
            except subprocess.TimeoutExpired:
                process.send_signal(number)
