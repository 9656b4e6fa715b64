"""What every data module is held to."""

import pickle
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple
from unittest import mock

import torch
from torch import Tensor

from lightning_flows.datamodules import FlowDataModule
from proofs.common import Proofs, same

PROOFS = Proofs()
SPLITS = ("train", "val", "test")


class DataCase(NamedTuple):
    """A data module and what it holds.

    Args:
        build: the data module, given a folder for its files; rows differ from each other.
        sizes: rows to train on, to validate and to test.
        event_shape: shape of a point.
        context_shape: shape of a context, or None.
        labels: whether a batch has labels beside the points.
        data: rows in memory, which are no option that a checkpoint keeps.
    """

    build: Callable[[Path], FlowDataModule]
    sizes: tuple[int, int, int]
    event_shape: tuple[int, ...]
    context_shape: tuple[int, ...] | None = None
    labels: bool = False
    data: Any = None


@contextmanager
def made(case: DataCase, *, setup: bool = True) -> Iterator[FlowDataModule]:
    with tempfile.TemporaryDirectory() as folder:
        data = case.build(Path(folder))
        if setup:
            data.setup("fit")
        yield data


def loader(data: FlowDataModule, split: str) -> Any:
    return getattr(data, f"{split}_dataloader")()


def batches(loader: Any) -> list[tuple[Tensor, ...]]:
    return [tuple(batch.values()) for batch in loader]


def points(data: FlowDataModule, split: str) -> Tensor:
    return torch.cat([batch[0] for batch in batches(loader(data, split))])


def keys(x: Tensor) -> set[tuple[float, ...]]:
    return {tuple(row) for row in x.flatten(1).tolist()}


@contextmanager
def rank_of(rank: int, world: int) -> Iterator[None]:
    """As in one process of several."""
    values = {"is_initialized": True, "get_rank": rank, "get_world_size": world}
    with mock.patch.multiple(
        "torch.distributed", **{name: mock.Mock(return_value=v) for name, v in values.items()}
    ):
        yield


@PROOFS.add()
def shapes_are_known_at_once(case: DataCase) -> None:
    with made(case, setup=False) as data:
        assert data.event_shape == case.event_shape
        assert data.context_shape == case.context_shape
        data.setup()
        assert (data.event_shape, data.context_shape) == (case.event_shape, case.context_shape)
        for split in SPLITS:
            for batch in loader(data, split):
                x, conditional = batch["x"], case.context_shape is not None
                assert x.shape[1:] == case.event_shape
                assert ("label" in batch, "context" in batch) == (case.labels, conditional)
                if conditional:
                    assert batch["context"].shape == (len(x), *case.context_shape)


@PROOFS.add()
def splits_are_disjoint_and_of_the_right_sizes(case: DataCase) -> None:
    with made(case) as data:
        rows = [points(data, split) for split in SPLITS]
        assert tuple(map(len, rows)) == case.sizes
        assert len(set.union(*map(keys, rows))) == sum(case.sizes)


@PROOFS.add()
def a_second_setup_does_nothing(case: DataCase) -> None:
    with made(case) as data:
        before = [loader(data, split).dataset.tensors["x"] for split in SPLITS]
        for stage in ("fit", "validate", "test", "predict", None):
            data.setup(stage)
        for x, split in zip(before, SPLITS, strict=True):
            assert loader(data, split).dataset.tensors["x"] is x


@PROOFS.add()
def the_seed_alone_decides(case: DataCase) -> None:
    found = []
    for seed in (1, 2):
        torch.manual_seed(seed)
        with made(case) as data:
            state = torch.get_rng_state()
            found.append([batches(loader(data, split)) for split in SPLITS])
            same(torch.get_rng_state(), state)
    same(*found)


@PROOFS.add()
def ranks_share_the_rows_out(case: DataCase) -> None:
    with made(case) as data:
        for split, size in zip(SPLITS, case.sizes, strict=True):
            shares, lengths = [], set()
            for rank in (0, 1):
                with rank_of(rank, 2):
                    each = batches(loader(data, split))
                    assert len(each) == len(loader(data, split))
                shares.append(torch.cat([batch[0] for batch in each]))
                lengths.add(len(each))
            assert len(lengths) == 1, "a rank would wait for another one"
            assert len(keys(torch.cat(shares))) == size
            assert sum(map(len, shares)) == size + (size % 2 if split == "train" else 0)


@PROOFS.add()
def an_epoch_goes_on_where_it_stopped(case: DataCase) -> None:
    with made(case) as data:
        for split in SPLITS:
            whole, cut, resumed = (loader(data, split) for _ in range(3))
            for each in (whole, cut):
                each.set_epoch(3)
            iterator = iter(cut)
            next(iterator)
            resumed.load_state_dict(cut.state_dict())
            resumed.set_epoch(3)
            rest = batches(whole)[1:]
            assert rest
            same(batches(resumed), rest)


@PROOFS.add()
def options_are_plain_and_build_it_again(case: DataCase) -> None:
    with made(case) as data, tempfile.TemporaryDirectory() as folder:
        torch.save(dict(data.hparams), Path(folder) / "hparams.pt")
        stored = torch.load(Path(folder) / "hparams.pt", weights_only=True)
        rows = {} if case.data is None else {"data": case.data}
        again = type(data)(**stored, **rows)
        again.setup()
        same(points(again, "train"), points(data, "train"))


@PROOFS.add()
def pickles_before_and_after_setup(case: DataCase) -> None:
    with made(case, setup=False) as data:
        before = pickle.loads(pickle.dumps(data))
        data.setup()
        before.setup()
        after = pickle.loads(pickle.dumps(data))
        for split in SPLITS:
            same(points(before, split), points(data, split))
            same(points(after, split), points(data, split))
