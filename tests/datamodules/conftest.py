import os
import shutil

import pytest


@pytest.fixture(scope="session")
def real_images(tmp_path_factory):
    """A writable copy of MNIST and Fashion-MNIST from the folder LIGHTNING_FLOWS_DATA."""
    source = os.environ.get("LIGHTNING_FLOWS_DATA")
    if source is None:
        pytest.skip("LIGHTNING_FLOWS_DATA is not set")
    folder = tmp_path_factory.mktemp("images")
    for name in ("MNIST", "FashionMNIST"):
        shutil.copytree(f"{source}/{name}/raw", folder / name / "raw")
    return str(folder)
