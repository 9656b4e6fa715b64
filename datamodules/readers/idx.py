"""The idx files that MNIST, and what imitates it, come in."""

import gzip
import math
import zlib
from pathlib import Path

import torch
from torch import Tensor

from lightning_flows.core.errors import DataError

__all__ = ["read_idx"]

_DEFLATED = 1032  # times that the best case of gzip's compression makes smaller
_PIECE = 1 << 20  # bytes that are read at a time


def read_idx(path: Path) -> Tensor:
    """Read an array of bytes: (n, height, width) for images, (n,) for labels, uint8.

    Args:
        path: the file without its last extension; where it is missing, the one with .gz is read.

    Raises:
        DataError: neither file is there, or the file is damaged or holds something else.
    """
    packed = path.with_name(path.name + ".gz")
    source = path if path.exists() else packed
    try:
        size = source.stat().st_size
        with path.open("rb") if source is path else gzip.open(packed) as stream:
            # two zeros, the code of the type (8: unsigned bytes), the number of sides, the sides
            head = stream.read(4)
            sides = stream.read(4 * head[3]) if len(head) == 4 else b""
            shape = [int.from_bytes(sides[at : at + 4], "big") for at in range(0, len(sides), 4)]
            total = math.prod(shape)
            whole = head[:3] == b"\0\0\x08" and 0 < len(sides) == 4 * head[3]
            # no more than could be there, a byte beyond, and piece by piece
            content = bytearray()
            while whole and total <= _DEFLATED * size and len(content) <= total:
                piece = stream.read(min(_PIECE, total + 1 - len(content)))
                if not piece:
                    break
                content += piece
    except FileNotFoundError as error:
        raise DataError(f"There is neither {path} nor {packed.name} beside it.") from error
    except (OSError, EOFError, zlib.error) as error:
        raise DataError(f"{source} cannot be read: {error}.") from error
    if not whole or len(content) != total:
        raise DataError(f"{source} is not an idx file of bytes, or it is cut off.")
    if total == 0:
        raise DataError(f"{source} is empty: its shape is {tuple(shape)}.")
    return torch.frombuffer(content, dtype=torch.uint8).reshape(shape)
