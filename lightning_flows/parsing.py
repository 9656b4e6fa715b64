"""Parsing of command lines, and what a user can mend, said in one sentence."""

import re
import sys
from typing import NoReturn

from lightning.fabric.utilities.exceptions import MisconfigurationException
from lightning.pytorch.cli import LightningArgumentParser

from lightning_flows.errors import FlowError

__all__ = ["FlowParser", "stop", "what_the_user_can_mend"]


class FlowParser(LightningArgumentParser):
    """Says what is wrong in one sentence, without the usage of some hundred options."""

    def error(self, message: str, ex: Exception | None = None) -> NoReturn:
        """Write to standard error and exit with status 2."""
        if not self.exit_on_error:  # one of several types that are tried
            super().error(message, ex)
        prog = getattr(ex, "subcommand_parser", self).prog.replace(" [options]", "")
        stop(f"{_sentence(message)} (`{prog} --help` explains all options.)", status=2)


def stop(sentence: str, *, status: int, cause: BaseException | None = None) -> NoReturn:
    """Write a sentence to standard error and exit."""
    sys.stderr.write(f"error: {sentence}\n")
    raise SystemExit(status) from cause


def what_the_user_can_mend(error: BaseException) -> str | None:
    """One sentence about bad input; None where the error is ours."""
    if isinstance(error, OSError):
        return f"{error.strerror or error}: {error.filename or ''}".rstrip(": ") + "."
    cause: BaseException | None = error
    while cause is not None:  # jsonargparse wraps what a constructor raises
        if isinstance(cause, FlowError | MisconfigurationException):
            return " ".join(str(cause).split())
        cause = cause.__cause__
    return None


def _sentence(message: str) -> str:
    """What matters in a message of jsonargparse, which also lists all types that it tried."""
    tried = (
        r"Does not|Subtypes:|Errors:|Given value|Expected a path but|Expected a <class 'NoneType"
    )
    lines = [line.strip().removeprefix("- ") for line in message.splitlines()]
    text = " ".join(line for line in lines if not re.match(tried, line))
    text = re.sub(
        r"Expected a dot import path string: (\S+)", r"\1 is unknown or does not fit", text
    )
    text = re.sub(r"Type \S*Callable\[.*?\] expects a function or a callable class: ", "", text)
    text = re.sub(r"\.? Got value: Namespace\(.*\)$", "", text)
    return " ".join(text.split()).rstrip(".") + "."
