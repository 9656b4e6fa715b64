"""Random images in the files of MNIST."""

import gzip
from pathlib import Path

import torch
from torch import Tensor


def idx(array: Tensor) -> bytes:
    """What an idx file of these bytes holds."""
    sides = b"".join(n.to_bytes(4, "big") for n in array.shape)
    return bytes([0, 0, 8, array.ndim]) + sides + array.numpy().tobytes()


def write_images(data: Path, name: str, *, packed: bool = False, **counts: int) -> Path:
    """Write data/<name>/raw for files named train or t10k; labels are 0 to 9 in turn."""
    raw = data / name / "raw"
    raw.mkdir(parents=True)
    for prefix, n in counts.items():
        arrays = {
            "images-idx3": torch.randint(0, 256, (n, 28, 28)).to(torch.uint8),
            "labels-idx1": (torch.arange(n) % 10).to(torch.uint8),
        }
        for kind, array in arrays.items():
            path = raw / f"{prefix}-{kind}-ubyte{'.gz' if packed else ''}"
            path.write_bytes(gzip.compress(idx(array)) if packed else idx(array))
    return raw
