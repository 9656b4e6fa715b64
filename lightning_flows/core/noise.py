"""Random numbers of layers and densities: from the global state, or a hash of the data.

In training noise comes from the global random state of torch. A score that is taken in evaluation
mode should not change from call to call, with the batch size, or with the number of ranks, and
should leave the global random state as it was. So while data is encoded in evaluation mode, noise
is a hash of each row of that data: `Reproducible` says of which. Samples are always drawn from
the global state.

Noise must average out over rows, also over equal ones, of which integers, categories and sets
have many. So a row's key is a hash of its entries and of a number that tells equal rows apart:

- its place in the split, where that is known (`Placed`): in the validation, test and prediction
  steps of a `FlowModule`. The mean over a split is then the same for any batch size and any
  number of ranks.
- elsewhere, in `flow.log_prob(x)`, how often the same row stands before it in the tensor. Rows
  that are all different get the same noise in any batch and in any order. Of equal rows the first
  gets what it gets alone, and the others draws of their own; over two calls with one row each
  nothing averages out.

Under `torch.func.vmap` over rows each is alone in its tensor, and equal rows share their noise.
Keys are 32 bits wide: of n rows about n²/2³³ pairs share one by accident.

A bound is estimated better from several draws: inside of `with Resampled(k):` evaluation noise
is another one for each k. One call with copies of the data does it too:

    with Resampled(torch.arange(k).repeat(len(x)), copies=k):
        log_p = flow.log_prob(x.repeat_interleave(k, 0))  # k draws for each row
"""

from __future__ import annotations

import threading
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from lightning_flows.core.errors import ShapeError

__all__ = [
    "Divided",
    "FromGlobalState",
    "Placed",
    "Reproducible",
    "Resampled",
    "normal_noise",
    "occurrences",
    "places_in_split",
    "uniform_noise",
]

_WORD = 0xFFFFFFFF  # hashes are 32 bits wide, kept in int64
_GOLDEN = 0x9E3779B1
_PIECE = 1024  # rows of a whole split that are hashed at a time


class _Keys:
    """Where noise comes from: rows of data, of which each draw makes its own numbers."""

    def __init__(self, x: Tensor | None) -> None:
        self.x = x
        self.rows: tuple[Any, Tensor] | None = None
        self.draws = 0

    def words(self, shape: Sequence[int]) -> Tensor:
        """32 random bits for each entry of (batch, *event), from each row alone."""
        assert self.x is not None
        parts = _current.parts
        if shape[0] != len(self.x) * parts:
            raise ShapeError(
                f"{shape[0]} points of noise are drawn for {len(self.x)} rows of data"
                f"{'' if parts == 1 else f' in {parts} parts each'}."
            )
        index = _current.index
        if self.rows is None or self.rows[0] is not index:
            self.rows = index, _row_keys(self.x.detach(), index, _current.places)
        entries = parts * torch.Size(shape[1:]).numel()
        places = _hash(torch.arange(1, entries + 1, device=self.x.device))
        keys = _hash((self.rows[1] + self.draws * 0x85EBCA6B) & _WORD)
        self.draws += 1
        return _hash((keys[:, None] + places) & _WORD).reshape(tuple(shape))


class _Current(threading.local):
    def __init__(self) -> None:  # in every thread, so that what torch.compile traces sets no key
        self.keys: _Keys | None = None
        self.index: int | Tensor = 0
        self.places: Tensor | None = None
        self.parts = 1


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


class Placed:
    """While it lasts, rows of data are known by their places in the split.

    Data with another number of rows is keyed as if there were no places.

    Args:
        places: of the rows, (batch,), integers.
    """

    def __init__(self, places: Tensor) -> None:
        self.places = places

    def __enter__(self) -> None:
        self.before = _current.places
        _current.places = self.places

    def __exit__(self, *error: object) -> None:
        _current.places = self.before


class Divided:
    """While it lasts, noise is drawn for parts of each row, those of one row after the other.

    Args:
        parts: number of parts of each row.
    """

    def __init__(self, parts: int) -> None:
        self.parts = parts

    def __enter__(self) -> None:
        self.before = _current.parts
        _current.parts = self.before * self.parts

    def __exit__(self, *error: object) -> None:
        _current.parts = self.before


class Resampled:
    """While it lasts, reproducible noise is that of another draw.

    Args:
        index: number of the draw, or one number for each row, (batch,). Equal rows with equal
            numbers get noise of their own, as equal rows do without.
        copies: how often each row stands in the data, next to each other as
            `repeat_interleave` puts them; all have the place of that row.
    """

    def __init__(self, index: int | Tensor, *, copies: int = 1) -> None:
        self.index = index
        self.copies = copies

    def __enter__(self) -> None:
        self.before = _current.index, _current.places
        _current.index = self.index
        if _current.places is not None:
            _current.places = _current.places.repeat_interleave(self.copies)

    def __exit__(self, *error: object) -> None:
        _current.index, _current.places = self.before


def places_in_split() -> Tensor | None:
    """Places of the rows that are evaluated, (batch,), or None where nothing says them."""
    return _current.places


def occurrences(x: Tensor) -> Tensor:
    """How often each row of x stands in x before, (batch,).

    As places (`Placed`) of the pieces of x they give every row the noise it has in the whole.
    """
    return _earlier(torch.cat([_digests(part) for part in x.split(_PIECE)]))


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


def _row_keys(x: Tensor, index: int | Tensor, places: Tensor | None) -> Tensor:
    """One word for each row, (batch,), from its entries, the draw, and what tells equals apart."""
    if isinstance(index, Tensor):
        index = index.to(x.device).long()
    keys = _hash((_digests(x) + index * _GOLDEN) & _WORD)
    if places is None or len(places) != len(x):
        apart = _earlier(keys)
    else:
        apart = places.to(x.device).long()
    return _hash((keys + apart * 0xC2B2AE35) & _WORD)


def _earlier(keys: Tensor) -> Tensor:
    """How many equal keys stand before each, (n,)."""
    order = keys.argsort(stable=True)
    ranked = keys[order]
    numbers = torch.arange(len(keys), device=keys.device)
    starts = torch.cat([torch.ones_like(ranked[:1]), ranked.diff()]) != 0
    counts = numbers - torch.where(starts, numbers, 0).cummax(0).values
    return torch.zeros_like(counts).scatter(0, order, counts)


def _digests(x: Tensor) -> Tensor:
    """One word for each row, (batch,); integer arithmetic, the same on all devices."""
    flat = x.flatten(1)
    if flat.is_floating_point():
        wide = flat.to(torch.promote_types(flat.dtype, torch.float32))
        bits = wide.view(torch.int32 if wide.dtype == torch.float32 else torch.int64).long()
        flat = _hash((bits ^ (bits >> 32)) & _WORD)
    places = _hash(torch.arange(1, flat.shape[1] + 1, device=x.device))
    return _hash((flat.long() * places).sum(1) & _WORD)


def _hash(word: Tensor) -> Tensor:
    """Mix 32 bits: xor-shifts and odd multipliers (constants of C. Wellons' lowbias32)."""
    word = (word ^ (word >> 16)) * 0x7FEB352D & _WORD
    word = (word ^ (word >> 15)) * 0x846CA68B & _WORD
    return word ^ (word >> 16)
