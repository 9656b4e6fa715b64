"""Classes that a file may name, decided before anything is imported.

Importing a module runs it, so a file that names a class must not choose what is imported. A class
is looked up in modules that are loaded already; below the packages that lightning-flows is built
on; in the packages of plugins, which are those with an entry point in the group
`lightning_flows.plugins`; and in modules that the user trusts by name.
"""

import importlib
import re
import sys
from importlib.metadata import entry_points
from importlib.util import find_spec
from pathlib import Path

from lightning_flows.core.errors import ConfigError

__all__ = ["class_of", "is_import_path", "may_import", "refusal", "trust"]

ROOTS = ("lightning", "lightning_flows", "torch", "torchmetrics", "torchvision")

_trusted: set[str] = set()


def trust(*modules: str) -> None:
    """Let checkpoints name classes of some modules, until the process ends.

    A class of a module that is imported already needs no trust.

    Args:
        modules: names of modules, such as `my_flows`; what lies below them is trusted as well.

    Raises:
        ConfigError: one of them is no name of a module.
    """
    for module in modules:
        if not is_import_path(f"{module}.Class"):
            raise ConfigError(f"trust is {module!r}; accepted are names of modules.")
    _trusted.update(modules)


def is_import_path(text: str) -> bool:
    """Whether a text may be an import path: names with dots between them."""
    return bool(re.fullmatch(r"[^\W\d]\w*(\.[^\W\d]\w*)+", text))


def may_import(module: str) -> bool:
    """Whether a file may have a module imported that is not loaded yet; imports nothing.

    Private modules of our own dependencies, `__main__` among them, are left alone: they are not
    made to be imported.
    """
    names = module.split(".")
    if any(".".join(names[:count]) in _trusted for count in range(1, len(names) + 1)):
        return True
    if any(name.startswith("_") for name in names):
        return False
    if names[0] in ROOTS:
        return names[0] in sys.modules or _is_installed(names[0])
    plugins = entry_points(group="lightning_flows.plugins")
    return names[0] in {plugin.module.partition(".")[0] for plugin in plugins}


def refusal(path: str) -> str:
    """Why a class is not imported, and what the user can do about it."""
    module = path.rpartition(".")[0]
    return (
        f"class_path {path!r} is neither ours nor of a plugin, and a file may not choose what is "
        f"imported: import {module} first, or trust it by --trust {module}, in Python by "
        f"lightning_flows.trust({module!r})."
    )


def class_of(path: object, kinds: type | tuple[type, ...], what: str) -> type:
    """The class that a file names.

    Metrics of torchmetrics are refused: some of them fetch the networks that they need, and a
    file could say from where.

    Args:
        path: import path of the class, such as `lightning_flows.RealNVP`.
        kinds: what it has to be a subclass of.
        what: name of these kinds, for messages.

    Raises:
        ConfigError: it is no import path, of a module that must not be imported, or of another
            kind.
    """
    if not isinstance(path, str):
        raise ConfigError(f"class_path is {path!r}; accepted are import paths of classes.")
    if not is_import_path(path):
        raise ConfigError(f"class_path {path!r} cannot be imported: it is no module and class.")
    module, _, name = path.rpartition(".")
    if module not in sys.modules and not may_import(module):
        raise ConfigError(refusal(path))
    try:
        home = importlib.import_module(module)
        # a module of others may import what it is asked for, ours names its own parts alone
        target = getattr(home, name) if module.split(".")[0] in ROOTS else vars(home)[name]
    except (ImportError, AttributeError) as error:
        raise ConfigError(f"class_path {path!r} cannot be imported: {error}.") from error
    except KeyError:
        raise ConfigError(
            f"class_path {path!r} cannot be imported: {module} has no {name}."
        ) from None
    if not (isinstance(target, type) and issubclass(target, kinds)) or _is_metric(target):
        raise ConfigError(f"class_path {path!r} is no {what}.")
    return target


def _is_metric(target: type) -> bool:
    return any(base.__module__.partition(".")[0] == "torchmetrics" for base in target.__mro__)


def _is_installed(package: str) -> bool:
    """Whether a package is found elsewhere than in the current folder, where files may lie."""
    spec = find_spec(package)
    return (
        spec is not None
        and spec.origin is not None
        and Path.cwd() not in Path(spec.origin).absolute().parents[:2]
    )
