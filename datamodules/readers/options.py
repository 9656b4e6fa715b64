"""Options as plain Python, whatever a caller makes them of."""

from collections.abc import Mapping, Sequence
from typing import Any

from lightning_flows.core.errors import ConfigError

__all__ = ["plain", "whole"]


def plain(value: Any) -> Any:
    """Numbers and lists in place of those of numpy, torch, pandas or OmegaConf.

    Args:
        value: an option. What has no plain form stays as it is.
    """
    if hasattr(value, "tolist"):  # arrays, tensors, series, and the scalars among them
        return value.tolist()
    if isinstance(value, Mapping):
        return {key: plain(item) for key, item in value.items()}
    if isinstance(value, tuple):
        return tuple(map(plain, value))
    if isinstance(value, Sequence) and not isinstance(value, str | bytes):
        return [*map(plain, value)]
    return value


def whole(value: Any, name: str) -> int:
    """An option that is a whole number.

    Raises:
        ConfigError: it is none.
    """
    number = plain(value)
    if not isinstance(number, int) or isinstance(number, bool):
        raise ConfigError(f"{name} is {value!r}; accepted are integers.")
    return number
