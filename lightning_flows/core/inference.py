"""Derivatives inside of inference mode, where torch records none."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor

__all__ = ["outside_inference_mode", "recordable"]


def recordable(x: Tensor) -> Tensor:
    """The tensor, or a copy of one that inference mode keeps out of every graph."""
    return x if torch.compiler.is_compiling() or not x.is_inference() else x.clone()


@contextmanager
def outside_inference_mode() -> Iterator[None]:
    """`no_grad` in place of inference mode.

    There torch 2.11 has no forward mode under `vmap`, and its reverse mode gives zeros.
    """
    # code that is compiled cannot ask
    if torch.compiler.is_compiling() or not torch.is_inference_mode_enabled():
        yield
        return
    with torch.inference_mode(False), torch.no_grad():
        yield
