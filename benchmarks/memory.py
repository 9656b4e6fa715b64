"""Peak memory of the exact step with chunks beside that without.

Each is measured in a process of its own, as the growth of its peak resident memory over what was
resident after a step of one sample: `python -m benchmarks.memory 64 512 128 8` prints the bytes
for d, D, batch and chunk size.
"""

import os
import subprocess
import sys
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import torch

from benchmarks.rectangular import step_loss
from benchmarks.report import Row
from lightning_flows.flows import PaddedFlow, RealNVP
from lightning_flows.objectives import ExactVolume

__all__ = ["memory_rows", "peak", "resident"]

STATUS = Path("/proc/self/status")


def memory_rows(*, quick: bool) -> Iterator[Row]:
    """Compare the peaks, where the system says what they are.

    Args:
        quick: use tiny sizes.
    """
    if not STATUS.exists():
        return
    latent, features, batch, chunk = (4, 8, 8, 2) if quick else (64, 256, 128, 8)
    chunked = _in_process(latent, features, batch, chunk)
    whole = _in_process(latent, features, batch, latent)
    ratio = chunked / max(whole, 1)
    yield Row(
        f"rectangular, D={features} d={latent} batch {batch}: peak memory, chunks of {chunk}",
        f"{chunked / 2**20:.3g} MiB",
        "unchunked",
        f"{whole / 2**20:.3g} MiB",
        f"{ratio:.3g}",
        "≤ 0.6",
        ratio <= 0.6,
        {"ratio": ratio, "bytes_ours": chunked, "bytes_peer": whole},
    )


def peak(latent: int, features: int, batch: int, chunk: int) -> int:
    """Growth of this process's peak resident memory in one step: bytes."""
    torch.set_num_threads(1)
    torch.manual_seed(0)
    ambient = partial(RealNVP, layers=6, hidden=(128, 128), activation="tanh")
    flow = PaddedFlow(features, latent_features=latent, ambient=ambient)
    x = torch.randn(batch, features)
    volume = ExactVolume(chunk if chunk < latent else None)
    step_loss(flow, volume, x[:1]).backward()  # libraries are loaded, gradients allocated
    before = resident("VmRSS")
    step_loss(flow, volume, x).backward()
    return max(0, resident("VmHWM") - before)


def resident(field: str) -> int:
    """A figure of this process, such as its peak VmHWM: bytes."""
    line = next(line for line in STATUS.read_text().splitlines() if line.startswith(field))
    return int(line.split()[1]) * 1024


def _in_process(*sizes: int) -> int:
    command = [sys.executable, "-W", "ignore", "-m", "benchmarks.memory", *map(str, sizes)]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    return int(done.stdout)


if __name__ == "__main__":
    print(peak(*map(int, sys.argv[1:])))
