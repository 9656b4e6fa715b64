"""The wheel holds every module and config, and works outside of the checkout."""

import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PARTS = ("datamodules", "callbacks", "configs")


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder with the unpacked wheel."""
    tree, wheels, target = (tmp_path_factory.mktemp(name) for name in ("tree", "wheels", "target"))
    for name in ("lightning_flows", *PARTS):
        ignored = shutil.ignore_patterns("__pycache__")
        shutil.copytree(ROOT / name, tree / name, symlinks=True, ignore=ignored)
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, tree)
    options = ["--no-deps", "--no-build-isolation", "--quiet", "--wheel-dir", str(wheels)]
    subprocess.run([sys.executable, "-m", "pip", "wheel", *options, str(tree)], check=True)
    (wheel,) = wheels.glob("*.whl")
    zipfile.ZipFile(wheel).extractall(target)
    return target


def test_wheel_holds_every_file(installed: Path) -> None:
    wanted = {
        Path("lightning_flows", *(path.parts if part == "." else (part, *path.parts)))
        for part, folder in [(".", ROOT / "lightning_flows"), *((p, ROOT / p) for p in PARTS)]
        for suffix in ("*.py", "*.yaml", "py.typed")
        for path in (found.relative_to(folder) for found in folder.rglob(suffix))
    }
    missing = {path for path in wanted if not (installed / path).is_file()}
    assert len(wanted) > 60
    assert not missing


def test_wheel_claims_no_name_but_its_own(installed: Path) -> None:
    names = {path.name for path in installed.iterdir() if not path.name.endswith(".dist-info")}
    assert names == {"lightning_flows"}


def test_wheel_works_elsewhere(installed: Path, tmp_path: Path) -> None:
    program = (
        "import lightning_flows, lightning_flows.callbacks, lightning_flows.datamodules\n"
        "from importlib.resources import files\n"
        "print(lightning_flows.__file__)\n"
        "print((files('lightning_flows.configs') / 'digits' / 'nsf.yaml').is_file())\n"
        "print(lightning_flows.RectangularModule.__name__)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program],
        cwd=tmp_path,
        env={"PYTHONPATH": str(installed), "PATH": ""},
        capture_output=True,
        text=True,
        check=True,
    )
    file, has_config, name = done.stdout.split()
    assert Path(file).is_relative_to(installed)
    assert (has_config, name) == ("True", "RectangularModule")
