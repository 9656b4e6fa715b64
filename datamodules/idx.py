"""The idx files that MNIST, and what imitates it, come in."""

import gzip
import math
import zlib
from pathlib import Path

import torch
from torch import Tensor

from lightning_flows.errors import DataError

__all__ = ["read_idx"]


def read_idx(path: Path) -> Tensor:
    """Read an array of bytes: (n, height, width) for images, (n,) for labels, uint8.

    Args:
        path: the file without its last extension; where it is missing, the one with .gz is read.

    Raises:
        DataError: neither file is there, or the file is damaged or holds something else.
    """
    packed = path.with_name(path.name + ".gz")
    try:
        content = path.read_bytes() if path.exists() else gzip.decompress(packed.read_bytes())
    except FileNotFoundError as error:
        raise DataError(f"There is neither {path} nor {packed.name} beside it.") from error
    except (OSError, EOFError, zlib.error) as error:
        raise DataError(f"{path} cannot be read: {error}.") from error
    # two zeros, the code of the type (8: unsigned bytes), the number of sides, the sides
    sides = content[3] if len(content) > 3 else 0
    start = 4 + 4 * sides
    shape = [int.from_bytes(content[at : at + 4], "big") for at in range(4, start, 4)]
    if content[:3] != b"\0\0\x08" or not sides or len(content) != start + math.prod(shape):
        raise DataError(f"{path} is not an idx file of bytes, or it is cut off.")
    return torch.frombuffer(bytearray(content), dtype=torch.uint8, offset=start).reshape(shape)
