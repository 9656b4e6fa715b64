"""Parsing of command lines, and what a user can mend, said in one sentence."""

import inspect
import os
import re
import sys
import traceback
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from types import FrameType, MappingProxyType
from typing import Any, NoReturn, TypeVar

import yaml
from jsonargparse import get_loader
from lightning.fabric.utilities.exceptions import MisconfigurationException
from lightning.pytorch.cli import LightningArgumentParser

from lightning_flows.core.errors import ConfigError, FlowError
from lightning_flows.core.signatures import parameter_of

__all__ = [
    "FlowParser",
    "building",
    "read_yaml",
    "reason",
    "shows_tracebacks",
    "stop",
    "what_the_user_can_mend",
]

T = TypeVar("T")

TRACEBACK = "LIGHTNING_FLOWS_TRACEBACK"
"""Environment variable: where it is set, an error also shows its traceback."""

LARGEST_CONFIG = 100_000  # entries; aliases of YAML can make billions of a few lines


class FlowParser(LightningArgumentParser):
    """Says what is wrong in one sentence, without the usage of some hundred options."""

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self.add_instantiator(_build, object)

    def error(self, message: str, ex: Exception | None = None) -> NoReturn:
        """Write to standard error and exit with status 2."""
        if not self.exit_on_error:  # one of several types that are tried
            super().error(message, ex)
        prog = getattr(ex, "subcommand_parser", self).prog.replace(" [options]", "")
        stop(f"{_sentence(message)} (`{prog} --help` explains all options.)", status=2, cause=ex)


class BuildError(ConfigError):
    """What a configuration names cannot be built; the message begins with the class."""


@contextmanager
def building(name: str, options: Mapping[str, Any] = MappingProxyType({})) -> Iterator[None]:
    """Turn whatever goes wrong inside into one sentence that says what was being built.

    Args:
        name: of the class, or of the file that holds it.
        options: those that were given, to be shown where a library says what is wrong.

    Raises:
        BuildError: something went wrong.
    """
    try:
        yield
    except BuildError:  # of a part, which is the nearest to what is wrong
        raise
    except Exception as error:  # of any constructor: said as one sentence
        sentence = _said(error)
        if sentence is None:
            given = ", ".join(f"{key}={value!r}" for key, value in options.items())
            whole = f"{name}({given})" if given else name
            sentence = f"{reason(error)} ({TRACEBACK}=1 shows where.)"
            raise BuildError(f"{whole} cannot be built: {sentence}") from error
        raise BuildError(sentence if name in sentence else f"{name}: {sentence}") from error


def stop(sentence: str, *, status: int, cause: BaseException | None = None) -> NoReturn:
    """Write a sentence to standard error, after the traceback where it is asked for, and exit."""
    if cause is not None and shows_tracebacks():
        traceback.print_exception(cause)
    sys.stderr.write(f"error: {sentence}\n")
    raise SystemExit(status) from cause


def shows_tracebacks() -> bool:
    """Whether the environment asks for the traceback of every error."""
    return os.environ.get(TRACEBACK, "0") != "0"


def what_the_user_can_mend(error: BaseException) -> str | None:
    """One sentence about bad input; None where the error is ours."""
    sentence = _said(error)
    if sentence is not None:
        return sentence
    frames = [frame for frame, _ in traceback.walk_tb(error.__traceback__)]
    last = frames[-1].f_globals["__name__"] if frames else ""
    if last.startswith("lightning_flows.") and isinstance(error, NotImplementedError):
        base = type(frames[-1].f_locals.get("self")).__name__
        return f"{base} is only a base of other classes: it has no {frames[-1].f_code.co_name}."
    if last.startswith("lightning.") and isinstance(error, ValueError | RuntimeError | TypeError):
        return " ".join(str(error).split())  # Lightning says what it refuses
    if any(_restores_a_run(frame) for frame in frames):
        return f"The checkpoint holds another state than this run has: {reason(error)}"
    if last.startswith("torch.optim."):
        return f"{last} cannot go on with its options: {reason(error)}"
    return None


def _restores_a_run(frame: FrameType) -> bool:
    module, function = frame.f_globals["__name__"], frame.f_code.co_name
    return module.endswith(".checkpoint_connector") and "restore" in function


def _said(error: BaseException) -> str | None:
    """What an error says that was raised to be read by a user; None of any other."""
    if isinstance(error, OSError):
        return f"{error.strerror or error}: {error.filename or ''}".rstrip(": ") + "."
    cause: BaseException | None = error
    while cause is not None:  # jsonargparse wraps what a constructor raises
        if isinstance(cause, FlowError | MisconfigurationException):
            return " ".join(str(cause).split())
        cause = cause.__cause__
    return None


def read_yaml(text: str) -> Any:
    """Read YAML as jsonargparse does.

    Raises:
        yaml.YAMLError: no YAML, or more entries than any config has.
    """
    try:
        content = _load_yaml(text)
    except RecursionError:
        raise yaml.YAMLError("the text is nested too deeply") from None
    entries, count = [content], 0
    while entries:
        entry = entries.pop()
        count += 1
        if isinstance(entry, dict | list):
            entries += entry.values() if isinstance(entry, dict) else entry
        if count > LARGEST_CONFIG:
            raise yaml.YAMLError(f"the text has more than {LARGEST_CONFIG} entries")
    return content


_load_yaml = get_loader("yaml")


def _build(kind: type[T], *args: Any, **options: Any) -> T:
    """Make an object that a configuration names."""
    parameters = {name: parameter_of(kind, name) for name in options}
    own = {
        name: options[name]
        for name, parameter in parameters.items()
        if parameter is not None and _is_shown(options[name], parameter.default)
    }
    with building(kind.__name__, own):
        for name, parameter in parameters.items():
            if options[name] is None and parameter is not None and not _takes_none(parameter):
                kind_of_value = inspect.formatannotation(parameter.annotation)
                raise ConfigError(f"{name} is null; accepted are values of type {kind_of_value}.")
        return kind(*args, **options)


def _takes_none(parameter: inspect.Parameter) -> bool:
    untyped = parameter.annotation is parameter.empty
    written = inspect.formatannotation(parameter.annotation)
    return parameter.default is None or untyped or bool(re.search("None|Optional|Any", written))


def _is_shown(value: Any, default: Any) -> bool:
    """Whether an option is worth mention: not left to its default, and short."""
    plain = isinstance(value, str | int | float | list | tuple | Path)
    return plain and value != default and len(repr(value)) < 60


def reason(error: BaseException) -> str:
    """Kind of an error, and the first line of what it says, as a sentence."""
    line = str(error).strip().partition("\n")[0].rstrip(" .:")
    return f"{type(error).__name__}: {line}." if line else f"{type(error).__name__}."


def _sentence(message: str) -> str:
    """What matters in a message of jsonargparse, which also lists all types that it tried."""
    tried = (
        r"Does not|Subtypes:|Errors:|Given value|Expected a path but|Expected a <class 'NoneType"
        r"|Subclass types expect|a class path \(str\)|a dict with"
    )
    lines = [line.strip().removeprefix("- ") for line in message.splitlines()]
    text = " ".join(line for line in lines if not re.match(tried, line))
    text = re.sub(r"<class '([\w.]+)'>", r"\1", text)
    text = re.sub(r"Union\[([\w, ]+)\]", r"\1", text)
    text = re.sub(
        r"Expected a dot import path string: (\S+)", r"\1 is unknown or does not fit", text
    )
    text = re.sub(r"Type \S*Callable\[.*?\] expects a function or a callable class: ", "", text)
    text = re.sub(r"\.? Got value: Namespace\(.*\)$", "", text)
    return " ".join(text.split()).rstrip(".") + "."
