"""Random numbers of layers and densities: from the global state, or a hash of the data.

In training noise comes from the global random state of torch. A score that is taken in evaluation
mode should not change from call to call, with the batch size, or with the number of ranks, and
should leave the global random state as it was. So while data is encoded in evaluation mode, noise
is a hash of each row of that data: `Reproducible` says of which. Samples are always drawn from
the global state.

A bound is estimated better from several draws: inside of `with Resampled(k):` evaluation noise
is another one for each k. One call with copies of the data does it too:

    with Resampled(torch.arange(k).repeat(len(x))):
        log_p = flow.log_prob(x.repeat_interleave(k, 0))  # k draws for each row
"""

from __future__ import annotations

import threading
from collections.abc import Sequence

import torch
from torch import Tensor

from lightning_flows.errors import ShapeError

__all__ = ["FromGlobalState", "Reproducible", "Resampled", "normal_noise", "uniform_noise"]

_WORD = 0xFFFFFFFF  # hashes are 32 bits wide, kept in int64
_GOLDEN = 0x9E3779B1


class _Keys:
    """Where noise comes from: rows of data, of which each draw makes its own numbers."""

    def __init__(self, x: Tensor | None) -> None:
        self.x = x
        self.digests: Tensor | None = None
        self.draws = 0

    def words(self, shape: Sequence[int]) -> Tensor:
        """32 random bits for each entry of (batch, *event), from each row alone."""
        assert self.x is not None
        if shape[0] != len(self.x):
            raise ShapeError(
                f"{shape[0]} points of noise are drawn for {len(self.x)} rows of data."
            )
        if self.digests is None:
            self.digests = _digests(self.x.detach())
        entries = torch.Size(shape[1:]).numel()
        places = _hash(torch.arange(1, entries + 1, device=self.x.device))
        index = _current.index
        if isinstance(index, Tensor):
            index = index.to(self.x.device).long()[:, None]
        keys = self.digests + index * _GOLDEN + self.draws * 0x85EBCA6B
        self.draws += 1
        return _hash((_hash(keys & _WORD) + places) & _WORD).reshape(tuple(shape))


class _Current(threading.local):
    def __init__(self) -> None:  # in every thread, so that what torch.compile traces sets no key
        self.keys: _Keys | None = None
        self.index: int | Tensor = 0


_current = _Current()


class Reproducible:
    """While it lasts, noise is a hash of the rows of x. The outermost one decides.

    Args:
        x: data, (batch, ...); each draw of noise then has as many rows.
        when: do nothing unless true.
    """

    def __init__(self, x: Tensor, when: bool = True) -> None:
        self.keys = _Keys(x) if when else None

    def __enter__(self) -> None:
        self.before = _current.keys
        if self.before is None:
            _current.keys = self.keys

    def __exit__(self, *error: object) -> None:
        _current.keys = self.before


class FromGlobalState(Reproducible):
    """While it lasts, noise comes from the global state, unless something outside has decided."""

    def __init__(self) -> None:
        self.keys = _Keys(None)


class Resampled:
    """While it lasts, reproducible noise is that of another draw.

    Args:
        index: number of the draw, or one number for each row, (batch,).
    """

    def __init__(self, index: int | Tensor) -> None:
        self.index = index

    def __enter__(self) -> None:
        self.before = _current.index
        _current.index = self.index

    def __exit__(self, *error: object) -> None:
        _current.index = self.before


def uniform_noise(shape: Sequence[int], like: Tensor) -> Tensor:
    """Numbers in [0, 1), (batch, *event), on the device and in the dtype of `like`."""
    keys = _current.keys
    if keys is None or keys.x is None:
        return torch.rand(tuple(shape), dtype=like.dtype, device=like.device)
    unit = _wide(keys.words(shape) >> 8, like) * 2.0**-24
    return unit.to(like).clamp(max=1 - torch.finfo(like.dtype).eps / 2)  # half precision rounds up


def normal_noise(shape: Sequence[int], like: Tensor) -> Tensor:
    """Standard normal numbers, (batch, *event), on the device and in the dtype of `like`."""
    keys = _current.keys
    if keys is None or keys.x is None:
        return torch.randn(tuple(shape), dtype=like.dtype, device=like.device)
    words = keys.words(shape)
    # half of the distribution function, where single precision has the digits for its tail
    lower = torch.special.ndtri((_wide(words >> 8, like) + 0.5) * 2.0**-25)
    return torch.where((words & 1).bool(), lower, -lower).to(like)


def _wide(words: Tensor, like: Tensor) -> Tensor:
    """Words as numbers of the dtype of `like`, single precision at least."""
    return words.to(torch.promote_types(like.dtype, torch.float32))


def _digests(x: Tensor) -> Tensor:
    """One word for each row, (batch, 1); integer arithmetic, the same on all devices."""
    flat = x.flatten(1)
    if flat.is_floating_point():
        wide = flat.to(torch.promote_types(flat.dtype, torch.float32))
        bits = wide.view(torch.int32 if wide.dtype == torch.float32 else torch.int64).long()
        flat = _hash((bits ^ (bits >> 32)) & _WORD)
    places = _hash(torch.arange(1, flat.shape[1] + 1, device=x.device))
    return _hash((flat.long() * places).sum(1, keepdim=True) & _WORD)


def _hash(word: Tensor) -> Tensor:
    """Mix 32 bits: xor-shifts and odd multipliers (constants of C. Wellons' lowbias32)."""
    word = (word ^ (word >> 16)) * 0x7FEB352D & _WORD
    word = (word ^ (word >> 15)) * 0x846CA68B & _WORD
    return word ^ (word >> 16)
