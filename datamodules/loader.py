"""Batches of tensors that are in memory, without a call per sample."""

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor
from torch.utils.data import Dataset, Sampler, SequentialSampler, TensorDataset

from lightning_flows.core.errors import ConfigError, DataError, check_least

__all__ = ["Batch", "InMemoryLoader"]

Batch = Tensor | tuple[Tensor, ...] | dict[str, Tensor]


class NamedTensors(Dataset[dict[str, Tensor]]):
    """A data set whose items are mappings with one entry of each tensor.

    Args:
        tensors: share their first dimension, the samples.
    """

    def __init__(self, tensors: Mapping[str, Tensor]) -> None:
        self.tensors = dict(tensors)

    def __len__(self) -> int:
        return len(next(iter(self.tensors.values())))

    def __getitem__(self, index: Any) -> dict[str, Tensor]:
        return {name: tensor[index] for name, tensor in self.tensors.items()}


class InMemoryLoader:
    """Iterates over tensors batch by batch; each batch is cut out of the tensors at once.

    Serves wherever a DataLoader would, a Lightning Trainer included. A batch is a mapping with the
    names of the tensors where they have names, else a tuple, or the tensor itself where there is
    one. Batches are copies. In a torch.distributed group each rank sees its own share. With
    `shuffle`, shares have equal sizes (a few samples are repeated where need be); without it every
    sample is seen exactly once, shares may differ by one sample, and ranks make equally many
    batches (but for one, where batch_size is 1).

    The order depends on `seed` and the epoch only; `set_epoch` is called by Lightning, and in a
    loop of one's own at the start of each epoch. `state_dict` holds how far the epoch has gone
    (the iterator that advanced last speaks), so that a run resumed in the middle of an epoch sees
    exactly the batches that remained, on each of as many ranks. It counts samples over all ranks:
    with another number of ranks, or another batch size, a resumed run sees the samples that
    remained, in other batches, and with `shuffle` a few once more where shares would differ.

    Args:
        tensors: a mapping of names to tensors, or a sequence of tensors; they share their first
            dimension, the samples.
        batch_size: samples in a batch, on each rank.
        shuffle: a new order each epoch.
        drop_last: leave out a last batch that is smaller than the others.
        seed: starting point of the orders.

    Raises:
        ConfigError: batch_size below 1, or no batch left after drop_last.
        DataError: no tensors, no samples, or tensors of different lengths.
    """

    batch_sampler = None  # Lightning asks for it where there is a sampler

    def __init__(
        self,
        tensors: Mapping[str, Tensor] | Sequence[Tensor],
        batch_size: int,
        *,
        shuffle: bool = False,
        drop_last: bool = False,
        seed: int = 0,
    ) -> None:
        self.names = tuple(tensors) if isinstance(tensors, Mapping) else None
        columns = tuple(tensors.values() if isinstance(tensors, Mapping) else tensors)
        lengths = [len(column) for column in columns]
        if not lengths or min(lengths) == 0:
            raise DataError("The data set is empty; a loader needs at least one sample.")
        if len(set(lengths)) > 1:
            raise DataError(f"Tensors of a data set must share their length; came {lengths}.")
        check_least(1, batch_size=batch_size)
        if drop_last and batch_size > lengths[0]:
            raise ConfigError(
                f"batch_size is {batch_size} and drop_last is set, but there are only {lengths[0]} "
                "samples: not one batch is left."
            )
        self._columns = columns
        self.batch_size = batch_size
        self.shuffle = shuffle
        self.drop_last = drop_last
        self.seed = seed
        self.epoch = 0
        self._consumed = 0  # samples of this epoch that all ranks together have seen
        self._resume: tuple[int, int] | None = None

    @property
    def tensors(self) -> dict[str, Tensor] | tuple[Tensor, ...]:
        """The tensors by their names, or in their order where they have none."""
        if self.names is None:
            return self._columns
        return dict(zip(self.names, self._columns, strict=True))

    @property
    def dataset(self) -> NamedTensors | TensorDataset:
        """The whole data set in its original order; same tensors, not sharded."""
        tensors = self.tensors
        return NamedTensors(tensors) if isinstance(tensors, dict) else TensorDataset(*tensors)

    @property
    def sampler(self) -> "InMemoryLoader | Sampler[int]":
        """Where Lightning looks for `set_epoch`, and whether there is shuffling."""
        return self if self.shuffle else SequentialSampler(self.dataset)

    def set_epoch(self, epoch: int) -> None:
        """Choose the order of this epoch."""
        if epoch != self.epoch:
            self._consumed = 0
        self.epoch = epoch

    def __len__(self) -> int:
        """Batches of a whole epoch on this rank, resumed or not."""
        return len(self._sizes(len(self._columns[0]), *_rank_and_world()))

    def __iter__(self) -> Iterator[Batch]:
        resume, self._resume = self._resume, None
        return self._batches(resume)

    def state_dict(self) -> dict[str, Any]:
        """Epoch and number of samples seen in it, over all ranks."""
        return {"epoch": self.epoch, "consumed": self._consumed}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Let the next iterator continue where the state was taken, if it is for that epoch."""
        self.epoch, self._consumed = int(state["epoch"]), int(state["consumed"])
        self._resume = self.epoch, self._consumed

    def _batches(self, resume: tuple[int, int] | None) -> Iterator[Batch]:
        # Lightning makes an iterator before it sets the epoch: a generator reads it when it starts
        rank, world = _rank_and_world()
        total = len(self._columns[0])
        consumed = resume[1] if resume is not None and resume[0] == self.epoch else 0
        order = self._order(consumed, world) if self.shuffle else None
        start = 0
        sizes = self._sizes(total - consumed, rank, world)
        for place, size in enumerate(sizes, 1):
            first, last = rank + start * world, rank + (start + size) * world
            if order is not None:
                index = order[first:last:world]
                batch = tuple(tensor.index_select(0, index) for tensor in self._columns)
            else:
                share = slice(consumed + first, consumed + last, world)
                batch = tuple(tensor[share].clone() for tensor in self._columns)
            start += size
            self._consumed = consumed + start * world if place < len(sizes) else total
            if self.names is not None:
                yield dict(zip(self.names, batch, strict=True))
            else:
                yield batch if len(batch) > 1 else batch[0]

    def _order(self, consumed: int, world: int) -> Tensor:
        """Samples of this epoch that are left, in its order, which begins anew to even out shares.

        The order is that of the whole epoch, so that the samples that are repeated are the same
        wherever a run is resumed.
        """
        generator = torch.Generator().manual_seed((self.seed * 1_000_003 + self.epoch) % 2**63)
        total = len(self._columns[0])
        order = torch.randperm(total, generator=generator)
        left = math.ceil((total - consumed) / world) * world
        places = torch.arange(consumed, consumed + left) % total
        return order[places].to(self._columns[0].device)

    def _sizes(self, samples: int, rank: int, world: int) -> list[int]:
        """Sizes of the batches of a rank, where all ranks together see this many samples.

        All batches but the last have the same size on each rank, so that a number of samples says
        where every rank is.
        """
        if self.drop_last:
            return [self.batch_size] * (samples // (self.batch_size * world))
        largest = math.ceil(samples / world)
        share = largest if self.shuffle else len(range(rank, samples, world))
        count = math.ceil(largest / self.batch_size)
        sizes = [self.batch_size] * (count - 1)
        if sizes and samples // world == sum(sizes) and self.batch_size > 1 and not self.shuffle:
            sizes[-1] -= 1  # leave one sample for the last batch of those with a smaller share
        last = share - sum(sizes)
        return [*sizes, last] if last else sizes


def _rank_and_world() -> tuple[int, int]:
    if dist.is_available() and dist.is_initialized():
        return dist.get_rank(), dist.get_world_size()
    return 0, 1
