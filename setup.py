"""Map the folders that stand beside the package on disk into the package.

`datamodules/`, `callbacks/` and `configs/` import as `lightning_flows.datamodules` and so on.
"""

from setuptools import find_packages, setup

PARTS = ("datamodules", "callbacks", "configs")

setup(
    packages=find_packages(include=["lightning_flows", "lightning_flows.*"])
    + [
        f"lightning_flows.{name}"
        for part in PARTS
        for name in find_packages(include=[part, f"{part}.*"])
    ],
    package_dir={f"lightning_flows.{part}": part for part in PARTS},
)
