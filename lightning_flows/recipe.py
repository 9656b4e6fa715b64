"""Plain-data descriptions of how an object is built.

A recipe is `{"class_path": "package.Class", "init_args": {...}}`, the notation of LightningCLI.
It holds strings, numbers, lists and dicts only, so that a checkpoint which carries it loads with
`weights_only=True`.

Two kinds of thing are written that way. A *factory* is called later (`flow: RealNVP` is called
with the event shape); a *part* is an object that exists (`preprocess`). A nested recipe is of the
same kind as the one around it, unless it says otherwise: `"factory": True` or `False`.
"""

import importlib
import inspect
import sys
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from itertools import accumulate
from typing import Any, Self, TypeGuard

import numpy as np
from torch import nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler

from lightning_flows.errors import ConfigError

__all__ = ["Recorded", "build_factory", "build_part", "factory_target", "to_recipe"]


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
        value: plain data, a class (a factory), a `functools.partial` of one, a `Recorded` part,
            or a sequence or mapping of those; numbers and arrays of NumPy count as plain.

    Raises:
        ConfigError: a function, or an object that is not plain.
    """
    value = _plain(value)
    if value is None or isinstance(value, bool | int | float | str):
        return value
    if isinstance(value, list):
        return [to_recipe(item) for item in value]
    if isinstance(value, dict):
        return {key: to_recipe(item) for key, item in value.items()}
    if isinstance(value, partial):
        return _entry(factory_target(value), value.keywords, factory=True)
    if isinstance(value, Recorded):
        return _entry(type(value), getattr(value, "_arguments", {}), factory=False)
    if isinstance(value, type):
        return _entry(value, {}, factory=True)
    raise ConfigError(
        f"{value!r} cannot be stored as plain data; accepted are numbers, strings, lists, classes, "
        "functools.partial(Class, ...), and the parts of lightning_flows."
    )


def _plain(value: Any) -> Any:
    """Numbers, text, sequences and mappings of any kind as Python's own; else what came."""
    if isinstance(value, str):
        return str.__str__(value)
    if isinstance(value, np.generic | np.ndarray) and value.dtype.kind in "biuf":
        return value.tolist()
    if isinstance(value, Sequence) and not isinstance(value, bytes):
        return list(value)
    return dict(value) if isinstance(value, Mapping) else value


def build_factory(recipe: dict[str, Any]) -> Callable[..., Any]:
    """Make the class, function or partial that `to_recipe` described."""
    target = _import(recipe["class_path"])
    arguments = {key: _nested(item, factory=True) for key, item in _arguments(recipe).items()}
    return partial(target, **arguments) if arguments else target


def build_part(recipe: dict[str, Any]) -> Any:
    """Make the object that `to_recipe` described."""
    target = _import(recipe["class_path"])
    return target(**{key: _nested(item, factory=False) for key, item in _arguments(recipe).items()})


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


def _entry(
    target: Callable[..., Any], arguments: dict[str, Any], *, factory: bool
) -> dict[str, Any]:
    return {
        "class_path": _path(target),
        "init_args": {key: _marked(item, factory=factory) for key, item in arguments.items()},
    }


def _marked(value: Any, *, factory: bool) -> Any:
    """The recipe of an argument of a factory or a part; says so where it is of the other kind."""
    value = _plain(value)
    if isinstance(value, list):
        return [_marked(item, factory=factory) for item in value]
    if isinstance(value, dict):
        return {key: _marked(item, factory=factory) for key, item in value.items()}
    recipe = to_recipe(value)
    kind = isinstance(value, partial | type)
    if is_recipe(recipe) and kind != factory:
        recipe["factory"] = kind
    return recipe


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


def _import(path: str) -> Any:
    """Import a class that a recipe names; a checkpoint must not call just anything."""
    module, _, name = path.rpartition(".")
    try:
        target = getattr(importlib.import_module(module), name)
    except (ImportError, AttributeError, ValueError) as error:
        raise ConfigError(f"class_path {path!r} cannot be imported: {error}.") from error
    if not (isinstance(target, type) and issubclass(target, _BUILDABLE)):
        raise ConfigError(f"class_path {path!r} is no flow, transform, network or optimizer.")
    return target


def _arguments(recipe: dict[str, Any]) -> dict[str, Any]:
    return {**(recipe.get("init_args") or {}), **(recipe.get("dict_kwargs") or {})}


def _nested(value: Any, *, factory: bool) -> Any:
    if is_recipe(value):
        return build_factory(value) if value.get("factory", factory) else build_part(value)
    if isinstance(value, list):
        return [_nested(item, factory=factory) for item in value]
    if isinstance(value, dict):
        return {key: _nested(item, factory=factory) for key, item in value.items()}
    return value
