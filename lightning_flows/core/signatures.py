"""Arguments of constructors, those that are passed on to a base class among them."""

import inspect
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from lightning_flows.core.recipe import factory_target

__all__ = ["Options", "parameter_of", "takes"]

if TYPE_CHECKING:
    from typing import Unpack as Options
else:

    class Options:
        """`Unpack` for type checkers.

        At run time `**options: Options[...]` says nothing, so that the command line finds types,
        defaults and help in the signature that the options are passed on to.
        """

        def __class_getitem__(cls, options: type) -> Any:
            return Any


def parameter_of(kind: Callable[..., Any], name: str) -> inspect.Parameter | None:
    """An argument of a class, of the base class that its **options go to, or of a function."""
    constructors = kind.__mro__ if isinstance(kind, type) else (kind,)
    for constructor in constructors:
        own = vars(constructor).get("__init__") if isinstance(constructor, type) else constructor
        if own is None:  # inherited
            continue
        parameters = inspect.signature(own).parameters
        if name in parameters:
            return parameters[name]
        if all(p.kind is not p.VAR_KEYWORD for p in parameters.values()):
            return None
    return None


def takes(factory: Callable[..., Any], name: str) -> bool:
    """Whether a factory takes an argument by its name.

    Args:
        factory: a class, a function, or a partial of one, also of the command line's. A function
            with **options takes everything.
        name: of the argument.
    """
    factory = factory_target(factory)
    if parameter_of(factory, name) is not None:
        return True
    if isinstance(factory, type):
        return False
    parameters = inspect.signature(factory).parameters.values()
    return any(p.kind is p.VAR_KEYWORD for p in parameters)
