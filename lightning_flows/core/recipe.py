"""Plain-data descriptions of how an object is built.

A recipe is `{"class_path": "package.Class", "init_args": {...}}`, the notation of LightningCLI.
It holds strings, numbers, lists and dicts only, so that a checkpoint which carries it loads with
`weights_only=True`.

Two kinds of thing are written that way. A *factory* is called later (`flow: RealNVP` is called
with the event shape); a *part* is an object that exists (`preprocess`). A nested recipe is of the
same kind as the one around it, unless it says otherwise: `"factory": True` or `False`.

A checkpoint runs no code: `lightning_flows.core.trusted` decides which classes a recipe may name.
"""

import inspect
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from itertools import accumulate
from pathlib import PurePath
from typing import Any, Self, TypeGuard

import numpy as np
import torch
from torch import nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler

from lightning_flows.core.errors import ConfigError
from lightning_flows.core.trusted import class_of

__all__ = [
    "Recorded",
    "build_factory",
    "build_part",
    "factory_target",
    "is_recipe",
    "storable",
    "to_recipe",
]


class Recorded:
    """Mixin for parts: remembers the arguments of its construction for `to_recipe`."""

    _arguments: dict[str, Any]

    def __new__(cls, *args: Any, **kwargs: Any) -> Self:
        instance = super().__new__(cls)
        if args or kwargs:  # copy and pickle call __new__ with no arguments
            signature = inspect.signature(cls)
            arguments = dict(signature.bind(*args, **kwargs).arguments)
            for name, parameter in signature.parameters.items():
                if parameter.kind is parameter.VAR_KEYWORD:  # options passed on to a base class
                    arguments |= arguments.pop(name, {})
            object.__setattr__(instance, "_arguments", arguments)
        return instance


_BUILDABLE = (Recorded, nn.Module, Optimizer, LRScheduler)


def to_recipe(value: Any) -> Any:
    """Describe a value as plain data.

    Args:
        value: a number, string or path, a class (a factory), a `functools.partial` of one, a
            `Recorded` part, or a sequence, array or mapping of those. Whatever its type, a
            sequence or array becomes a list, a mapping a dict, NumPy's numbers Python's, and a
            path a string.

    Raises:
        ConfigError: a function, or an object that is not plain.
    """
    return _recipe(value, around=None)


def storable(value: Any) -> Any:
    """Describe a value as plain data, and make sure that it can be made again from that.

    Whatever a constructor draws at random meanwhile is drawn again later: the random numbers of
    torch on the CPU go on as if nothing had been made.

    Args:
        value: as for `to_recipe`.

    Raises:
        ConfigError: as for `to_recipe`, or the description makes nothing, or something else.
    """
    recipe = to_recipe(value)
    with torch.random.fork_rng(devices=[]):
        _try_out(value, recipe)
    return recipe


def build_factory(recipe: dict[str, Any], kind: type | None = None) -> Callable[..., Any]:
    """Make the class or the partial of one that `to_recipe` described.

    Args:
        recipe: the description.
        kind: what the class has to be a subclass of; any part or network by default.

    Raises:
        ConfigError: it is no recipe, or names what is no part, or options that the class has not.
    """
    with _not_too_deep():
        target, arguments = _target_and_arguments(recipe, factory=True, kind=kind)
    return partial(target, **arguments) if arguments else target


def build_part(recipe: dict[str, Any], kind: type | None = None) -> Any:
    """Make the object that `to_recipe` described.

    Args:
        recipe: the description.
        kind: as for `build_factory`.

    Raises:
        ConfigError: as for `build_factory`.
    """
    with _not_too_deep():
        target, arguments = _target_and_arguments(recipe, factory=False, kind=kind)
    return target(**arguments)


def is_recipe(value: Any) -> TypeGuard[dict[str, Any]]:
    """Whether a value has the form of a recipe."""
    return isinstance(value, dict) and "class_path" in value


def factory_target(factory: Callable[..., Any]) -> Any:
    """The class that a partial makes; jsonargparse gives partial(call, ..., Class, **options)."""
    if not isinstance(factory, partial):
        return factory
    if factory.args and isinstance(factory.args[-1], type):
        return factory.args[-1]
    if factory.args:
        raise ConfigError(f"A partial must name its arguments to be stored; came {factory!r}.")
    return factory.func


def _recipe(value: Any, around: bool | None) -> Any:
    """The recipe of a value; `around` says whether it is an argument of a factory or of a part."""
    if isinstance(value, np.ndarray | np.generic):
        value = value.tolist()
    if isinstance(value, partial | type | Recorded):
        return _entry(value, around)
    if value is None or isinstance(value, bool):
        return value
    if isinstance(value, int | float):
        return int(value) if isinstance(value, int) else float(value)  # subclasses are not plain
    if isinstance(value, str):
        return str.__str__(value)
    if isinstance(value, PurePath):
        return str(value)
    if isinstance(value, Mapping):
        return {key: _recipe(item, around) for key, item in value.items()}
    if isinstance(value, Sequence) and not isinstance(value, bytes | bytearray | memoryview):
        return [_recipe(item, around) for item in value]
    raise ConfigError(
        f"{_short(value)} cannot be stored as plain data; accepted are numbers, strings, lists, "
        "classes, functools.partial(Class, ...), and the parts of lightning_flows."
    )


def _entry(value: Any, around: bool | None) -> dict[str, Any]:
    """The recipe of a factory or a part, marked where it is of another kind than `around`."""
    factory = isinstance(value, partial | type)
    if isinstance(value, partial):
        target, arguments = factory_target(value), value.keywords
    elif isinstance(value, type):
        target, arguments = value, {}
    else:
        target, arguments = type(value), getattr(value, "_arguments", {})
    recipe: dict[str, Any] = {
        "class_path": _path(target),
        "init_args": {key: _recipe(item, factory) for key, item in arguments.items()},
    }
    return recipe if around in (None, factory) else {**recipe, "factory": factory}


def _path(target: Any) -> str:
    """Shortest import path: files may move, what a package re-exports stays."""
    if not isinstance(target, type) or "." in target.__qualname__:
        raise ConfigError(
            f"{target!r} cannot be stored, because nothing can import it again; "
            "use a class at the top of a module or functools.partial(Class, ...)."
        )
    name = target.__qualname__
    packages = list(accumulate(target.__module__.split("."), lambda a, b: f"{a}.{b}"))
    for package in packages:
        module = sys.modules.get(package)
        if getattr(module, name, None) is target:
            return f"{package}.{name}"
    return f"{target.__module__}.{name}"


def _try_out(value: Any, recipe: Any) -> None:
    """Make every factory and part of a value again, and compare the recipes."""
    if isinstance(value, partial | type | Recorded):
        build = build_part if isinstance(value, Recorded) else build_factory
        name = recipe["class_path"]
        try:
            again = to_recipe(build(recipe))
        except ConfigError:
            raise
        except Exception as error:  # whatever a constructor raises
            reason = str(error).partition("\n")[0]
            raise ConfigError(
                f"{name} cannot be made again from its arguments as plain data: "
                f"{type(error).__name__}: {reason}"
            ) from error
        if again != recipe:
            raise ConfigError(
                f"{name} cannot be stored, because what is made again from its arguments has "
                "others; let its constructor take each of them by name."
            )
    elif isinstance(recipe, dict):
        for key, item in recipe.items():
            _try_out(value[key], item)
    elif isinstance(recipe, list) and not isinstance(value, np.ndarray):
        for item, described in zip(value, recipe, strict=True):
            _try_out(item, described)


@contextmanager
def _not_too_deep() -> Iterator[None]:
    try:
        yield
    except RecursionError:
        raise ConfigError("The recipe is nested too deeply to be one of a model.") from None


def _target_and_arguments(
    recipe: Any, *, factory: bool, kind: type | None
) -> tuple[Any, dict[str, Any]]:
    """The class that a recipe names and its arguments, all but those of a later call."""
    if not is_recipe(recipe):
        raise ConfigError(f"{_short(recipe)} is no recipe: it has no class_path.")
    what = "flow, transform, network or optimizer" if kind is None else kind.__name__
    target = class_of(recipe["class_path"], _BUILDABLE if kind is None else kind, what)
    given: dict[str, Any] = {}
    for key in ("init_args", "dict_kwargs"):
        options = recipe.get(key) or {}
        if not isinstance(options, dict):
            raise ConfigError(f"{key} is {_short(options)}; accepted are options by their name.")
        given |= options
    signature = inspect.signature(target)
    try:
        (signature.bind_partial if factory else signature.bind)(**given)
    except TypeError as error:
        raise ConfigError(f"class_path {recipe['class_path']!r}: {error}.") from error
    return target, {key: _nested(item, factory=factory) for key, item in given.items()}


def _nested(value: Any, *, factory: bool) -> Any:
    if is_recipe(value):
        return build_factory(value) if value.get("factory", factory) else build_part(value)
    if isinstance(value, list):
        return [_nested(item, factory=factory) for item in value]
    if isinstance(value, dict):
        return {key: _nested(item, factory=factory) for key, item in value.items()}
    return value


def _short(value: object) -> str:
    """A value in a sentence: networks and long lists are cut after their first line."""
    first = repr(value).partition("\n")[0]
    return first if len(first) < 80 else f"{first[:80]}..."
