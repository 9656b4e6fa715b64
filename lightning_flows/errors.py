"""The errors that a user can cause, each said in one sentence.

Every class also inherits the builtin that fits, so `except ValueError` keeps working.
"""

__all__ = [
    "CheckpointError",
    "ConfigError",
    "DataError",
    "DivergenceError",
    "FlowError",
    "ShapeError",
    "check_least",
]


class FlowError(Exception):
    """Base of all errors that lightning-flows raises about its input."""


class ShapeError(FlowError, ValueError):
    """A tensor or a part has another shape, or another domain, than its neighbour needs."""


class DataError(FlowError, ValueError):
    """The data cannot be learned from: not finite, constant, empty or in an unknown format."""


class ConfigError(FlowError, ValueError):
    """An option has a value that makes no sense."""


class DivergenceError(FlowError, RuntimeError):
    """Training has left the finite numbers and does not come back."""


class CheckpointError(FlowError, RuntimeError):
    """A checkpoint is damaged or belongs to another architecture."""


def check_least(least: int, **options: int | None) -> None:
    """Refuse whole numbers that are too small; None is let through.

    Args:
        least: smallest number that is accepted.
        options: numbers by the name of the option.

    Raises:
        ConfigError: names the first one that is below.
    """
    for name, value in options.items():
        if value is not None and value < least:
            accepted = "positive integers" if least == 1 else f"integers from {least} up"
            raise ConfigError(f"{name} is {value}; accepted are {accepted}.")
