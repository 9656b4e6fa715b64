"""How a command ends: signals reach the processes that train, and the exit status tells them."""

import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any

from lightning.pytorch import Trainer
from lightning.pytorch.strategies.launchers import _MultiProcessingLauncher
from lightning.pytorch.utilities.exceptions import SIGTERMException
from torch.multiprocessing.spawn import ProcessExitedException

__all__ = ["exit_status", "forwarding"]


@contextmanager
def forwarding(trainer: Trainer) -> Iterator[None]:
    """Where the ranks are forked, hand SIGTERM on to them while it lasts, and wait for their end.

    SIGINT of a terminal reaches all processes by itself; here it is waited for.
    """
    launcher = trainer.strategy.launcher
    if not isinstance(launcher, _MultiProcessingLauncher):
        yield
        return
    own = os.getpid()

    def hand_on(number: int, frame: FrameType | None) -> None:
        if os.getpid() != own:  # a rank that has not begun to train: there is nothing to save
            raise SystemExit(128 + number)
        launcher.kill(number)

    numbers = (signal.SIGTERM, signal.SIGINT)
    before: dict[int, Any] = {number: signal.signal(number, hand_on) for number in numbers}
    try:
        yield
    finally:
        if os.getpid() == own:
            for number, handler in before.items():
                signal.signal(number, handler)


def exit_status(error: BaseException) -> int | None:
    """Status of a command that was stopped, 128 + number of the signal; None if it was not.

    Lightning exits with 0 after SIGTERM and with 1 after SIGINT, and hides both behind another
    exception where ranks are forked.
    """
    if isinstance(error, ProcessExitedException):
        if error.signal_name is not None:
            return 128 + signal.Signals[error.signal_name]
        return error.exit_code
    if isinstance(error, SIGTERMException):
        return 128 + signal.SIGTERM
    if isinstance(error, KeyboardInterrupt) or isinstance(error.__context__, KeyboardInterrupt):
        return 128 + signal.SIGINT
    if isinstance(error, SystemExit) and isinstance(error.code, int) and error.code > 128:
        return error.code
    return None
