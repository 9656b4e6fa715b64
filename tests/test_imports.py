"""Who may import whom: imports run downwards only, and heavy packages come in late."""

import ast
import subprocess
import sys
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "lightning_flows"
PARTS = ("datamodules", "callbacks", "configs")  # stand beside the package, and are linked into it
MAY_IMPORT = {
    "core": set(),
    "nets": {"core"},
    "bases": {"nets", "core"},
    "transforms": {"bases", "nets", "core"},
    "jacobians": {"core"},
    "targets": {"bases", "nets", "core"},
    "objectives": {"jacobians", "nets", "core"},
    "components": {"jacobians", "core"},
    "flows": {"transforms", "objectives", "jacobians", "bases", "nets", "core"},
    "metrics": {"components", "jacobians", "nets", "core"},
    "plots": {"core"},
    "modules": {
        "flows", "transforms", "objectives", "components", "jacobians", "metrics", "bases", "nets",
        "core",
    },
    "callbacks": {"components", "jacobians", "metrics", "plots", "core"},
    "datamodules": {"transforms", "bases", "core"},
    "configs": set(),
}  # fmt: skip
MAY_IMPORT["cli"] = {*MAY_IMPORT}
MAY_IMPORT["__main__"] = {"cli"}
NEVER_LIGHTNING = {
    "core", "nets", "bases", "transforms", "jacobians", "objectives", "components", "flows",
    "metrics", "plots", "targets",
}  # fmt: skip
LATE = {
    "torchvision",
    "matplotlib",
    "scipy",
    "torchdiffeq",
    "sklearn",
    "pandas",
    "pyarrow",
    "h5py",
    "zuko",
    "nflows",
}


def part_of(path):
    """The part of the house that a file belongs to."""
    relative = path.relative_to(PACKAGE if PACKAGE in path.parents else ROOT)
    return relative.parts[0].removesuffix(".py")


def files():
    found = [path for path in PACKAGE.rglob("*.py") if not {*path.parts} & {*PARTS}]
    for folder in PARTS:
        found += (ROOT / folder).rglob("*.py")
    return sorted(path for path in found if path != PACKAGE / "__init__.py")


def runs_later(node):
    typing_only = isinstance(node, ast.If) and "TYPE_CHECKING" in ast.dump(node.test)
    return typing_only or isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)


def imported(path, *, at_import_time=False):
    """Absolute names of the modules that a file imports, anywhere or outside of functions."""

    def walk(node):
        for child in ast.iter_child_nodes(node):
            if at_import_time and runs_later(child):
                continue
            if isinstance(child, ast.Import):
                yield from (alias.name for alias in child.names)
            elif isinstance(child, ast.ImportFrom) and child.level == 0:
                yield child.module
                if child.module == "lightning_flows":
                    yield from (f"lightning_flows.{alias.name}" for alias in child.names)
            yield from walk(child)

    return set(walk(ast.parse(path.read_text())))


def name_of(path):
    """Under which a file imports."""
    relative = path.relative_to(PACKAGE if PACKAGE in path.parents else ROOT)
    return ".".join(("lightning_flows", *relative.with_suffix("").parts)).removesuffix(".__init__")


def needed(path):
    """Names that have to be imported before a file is, siblings among them."""
    own = name_of(path).split(".")
    package = own if path.name == "__init__.py" else own[:-1]

    def walk(node):
        for child in ast.iter_child_nodes(node):
            if runs_later(child):
                continue
            if isinstance(child, ast.ImportFrom):
                above = package[: len(package) - child.level + 1] if child.level else []
                home = ".".join([*above, *filter(None, [child.module])])
                yield home
                yield from (f"{home}.{alias.name}" for alias in child.names)
            yield from walk(child)

    return set(walk(ast.parse(path.read_text())))


def test_no_files_import_each_other():
    homes = {name_of(path): path for path in files()}
    # a file always comes after its package, which may import it
    needs = {
        name: {n for n in needed(path) & {*homes} if not f"{name}.".startswith(f"{n}.")}
        for name, path in homes.items()
    }
    assert needs["lightning_flows.flows.coupling"] >= {"lightning_flows.flows.stack"}
    assert needs["lightning_flows.callbacks.samples"] >= {"lightning_flows.callbacks.base"}
    TopologicalSorter(needs).prepare()  # raises where there is a circle


ids = [str(path.relative_to(ROOT)) for path in files()]


@pytest.mark.parametrize("path", files(), ids=ids)
def test_imports_run_downwards(path):
    part = part_of(path)
    allowed = MAY_IMPORT[part] | {part}
    ours = {name.split(".")[1] for name in imported(path) if name.startswith("lightning_flows.")}
    assert ours <= allowed, f"{part} may not import {sorted(ours - allowed)}"


@pytest.mark.parametrize("path", files(), ids=ids)
def test_heavy_packages_come_in_late(path):
    tops = {name.split(".")[0] for name in imported(path, at_import_time=True)}
    assert not tops & LATE
    if part_of(path) in NEVER_LIGHTNING:
        anywhere = {name.split(".")[0] for name in imported(path)}
        assert not anywhere & {"lightning", "pytorch_lightning"}


def loaded_after(statement):
    code = f"import sys\n{statement}\nprint(*{{name.split('.')[0] for name in sys.modules}})"
    return set(subprocess.check_output([sys.executable, "-c", code], text=True).split())


def test_the_root_imports_nothing_heavy():
    loaded = loaded_after("import lightning_flows")
    assert "lightning_flows" in loaded
    assert not loaded & ({"torch", "lightning", "torchmetrics"} | LATE)


def test_flows_serve_without_lightning():
    loaded = loaded_after(
        "from lightning_flows import RealNVP, PaddedFlow, ExactVolume, Chain, Normal\n"
        "import lightning_flows.jacobians, lightning_flows.nets\n"
        "RealNVP(2, layers=1).sample(1)"
    )
    assert "torch" in loaded
    assert not loaded & ({"lightning", "pytorch_lightning", "torchmetrics"} | LATE)
