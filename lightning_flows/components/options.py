"""Options of the extraction of components."""

from typing import Literal, get_args

from lightning_flows.core.errors import ConfigError

__all__ = ["Method", "Through", "check_options"]

Method = Literal["full", "iterative"]
Through = Literal["decode", "encode"]


def check_options(
    k: int | None,
    tikhonov: float,
    threshold: float,
    relative: float,
    through: str,
    *,
    method: str | None = None,
    noise: float = 0.0,
    tolerance: float = 0.01,
    max_iterations: int = 50,
) -> None:
    """Refuse options of `components` that are out of range.

    Raises:
        ConfigError: names the option.
    """
    if k is not None and k < 1:
        raise ConfigError(f"k is {k}; accepted are None and positive integers.")
    if through not in get_args(Through):
        raise ConfigError(f"through is {through!r}; accepted are 'decode' and 'encode'.")
    if method not in (None, *get_args(Method)):
        raise ConfigError(f"method is {method!r}; accepted are None, 'full' and 'iterative'.")
    if method == "iterative" and through == "encode":
        raise ConfigError(
            "method='iterative' finds the largest singular values of the decoder; "
            "with through='encode' use method='full'."
        )
    options = {"tikhonov": tikhonov, "noise": noise, "threshold": threshold, "relative": relative}
    for name, value in options.items():
        if not 0 <= value < float("inf"):
            raise ConfigError(f"{name} is {value}; accepted are numbers from 0 up.")
    if tikhonov and noise:
        raise ConfigError(
            f"tikhonov is {tikhonov} and noise {noise}; both say the same (2 tikhonov = noise²), "
            "so give one of them."
        )
    if not 0 < tolerance < float("inf"):
        raise ConfigError(f"tolerance is {tolerance}; accepted are positive numbers.")
    if max_iterations < 1:
        raise ConfigError(f"max_iterations is {max_iterations}; accepted are positive integers.")
