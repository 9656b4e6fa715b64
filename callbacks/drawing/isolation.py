"""Evaluation mode and random states for drawing, and those of the run restored afterwards."""

import random
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import torch
from torch import nn

__all__ = ["evaluation", "seeded"]


@contextmanager
def evaluation(module: nn.Module) -> Iterator[None]:
    """Evaluation mode without gradients; every submodule gets its own flag back.

    Inference mode is left where it is on, so that a module which differentiates itself in its
    methods can do so.
    """
    flags = [(part, part.training) for part in module.modules()]
    module.eval()
    try:
        with torch.inference_mode(False), torch.no_grad():
            yield
    finally:
        for part, flag in flags:
            part.training = flag


@contextmanager
def seeded(device: torch.device, seed: int, chunk: int) -> Iterator[None]:
    """Random states that depend on (seed, chunk) alone; those from before come back after.

    Covers torch on the CPU and on `device`, NumPy's and Python's global states.
    """
    state = int(np.random.SeedSequence([seed, chunk]).generate_state(1, np.uint64)[0]) >> 1
    devices = [device] if device.type == "cuda" else []
    python, numpy = random.getstate(), np.random.get_state()  # noqa: NPY002, foreign code's state
    try:
        with torch.random.fork_rng(devices):
            torch.default_generator.manual_seed(state)
            for each in devices:  # torch.manual_seed would touch the other devices as well
                with torch.cuda.device(each):
                    torch.cuda.manual_seed(state)
            random.seed(state)
            np.random.seed(state % 2**32)  # noqa: NPY002
            yield
    finally:
        random.setstate(python)
        np.random.set_state(numpy)  # noqa: NPY002
