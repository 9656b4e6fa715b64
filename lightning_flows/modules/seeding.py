"""Random numbers of a training step that depend on its place in the run, and on nothing else."""

import hashlib

import torch

__all__ = ["seed_step"]


def seed_step(*place: int) -> None:
    """Seed torch's generators, on all devices, by where the run is.

    Whatever drew random numbers before, in this process or in one that was killed, the numbers of
    a step are the same.

    Args:
        place: whole numbers, such as the seed of the run, the rank, the epoch and the batch.
    """
    digest = hashlib.blake2b(repr(place).encode(), digest_size=8).digest()
    torch.manual_seed(int.from_bytes(digest, "big") >> 1)
