"""The errors that a user can cause, each said in one sentence.

Every class also inherits the builtin that fits, so `except ValueError` keeps working.
"""

import math
import re
from collections.abc import Collection
from numbers import Integral
from typing import Any

__all__ = [
    "CheckpointError",
    "ConfigError",
    "DataError",
    "DivergenceError",
    "FlowError",
    "ShapeError",
    "check_finite",
    "check_from_zero",
    "check_least",
    "check_name",
    "check_positive",
]

LARGEST = 2**63 - 1  # of PyTorch's whole numbers


class FlowError(Exception):
    """Base of all errors that lightning-flows raises about its input."""


class ShapeError(FlowError, ValueError):
    """A tensor or a part has another shape, or another domain, than its neighbor needs."""


class DataError(FlowError, ValueError):
    """The data cannot be learned from: not finite, constant, empty or in an unknown format."""


class ConfigError(FlowError, ValueError):
    """An option has a value that makes no sense."""


class DivergenceError(FlowError, RuntimeError):
    """Training has left the finite numbers and does not come back."""


class CheckpointError(FlowError, RuntimeError):
    """A checkpoint is damaged or belongs to another architecture."""


def check_least(least: int, **options: Any) -> None:
    """Refuse what is no whole number, or a number that is too small or beyond 64 bits.

    Args:
        least: smallest number that is accepted.
        options: numbers, lists or arrays of them, by the name of the option; None is let through.

    Raises:
        ConfigError: names the first one that is refused.
    """
    for name, value in options.items():
        if value is None:
            continue
        one = isinstance(value, str) or not isinstance(value, Collection)
        numbers: Collection[Any] = [value] if one else value
        if not all(_is_whole(n) and n >= least for n in numbers):
            accepted = "positive integers" if least == 1 else f"integers from {least} up"
            raise ConfigError(f"{name} is {value}; accepted are {accepted}.")
        if not all(n <= LARGEST for n in numbers):
            raise ConfigError(
                f"{name} is {value}; accepted are integers from {least} to {LARGEST}."
            )


def check_positive(**options: float | None) -> None:
    """Refuse numbers that are not positive, infinite or NaN; None is let through.

    Raises:
        ConfigError: names the first one that is refused.
    """
    for name, value in options.items():
        if value is not None and not 0 < value < math.inf:
            raise ConfigError(f"{name} is {value}; accepted are positive numbers.")


def check_from_zero(**options: float | None) -> None:
    """Refuse numbers that are negative, infinite or NaN; None is let through.

    Raises:
        ConfigError: names the first one that is refused.
    """
    for name, value in options.items():
        if value is not None and not 0 <= value < math.inf:
            raise ConfigError(f"{name} is {value}; accepted are numbers from 0 up.")


def check_finite(**options: float) -> None:
    """Refuse numbers that are infinite or NaN.

    Raises:
        ConfigError: names the first one that is refused.
    """
    for name, value in options.items():
        if not math.isfinite(value):
            raise ConfigError(f"{name} is {value}; accepted are finite numbers.")


def check_name(**options: str) -> None:
    """Refuse names that are no single part of a path, so that files stay where they belong.

    Raises:
        ConfigError: names the first one that is refused.
    """
    for name, value in options.items():
        if not re.fullmatch(r"[A-Za-z0-9_-][A-Za-z0-9._-]*", value):
            raise ConfigError(
                f"{name} is {value!r}; accepted are letters, digits, '-', '_', and '.' after the "
                "first of them."
            )


def _is_whole(value: object) -> bool:
    return isinstance(value, Integral) and not isinstance(value, bool)
