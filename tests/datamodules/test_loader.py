from itertools import chain

import lightning as L
import pytest
import torch
from torch import nn

from lightning_flows.core.errors import ConfigError, DataError
from lightning_flows.datamodules import InMemoryLoader


def rows(loader):
    return [batch.flatten().tolist() for batch in loader]


def samples(loader):
    return [value for batch in rows(loader) for value in batch]


@pytest.fixture
def as_rank(monkeypatch):
    def set_rank(rank, world):
        monkeypatch.setattr("torch.distributed.is_initialized", lambda: True)
        monkeypatch.setattr("torch.distributed.get_rank", lambda: rank)
        monkeypatch.setattr("torch.distributed.get_world_size", lambda: world)

    return set_rank


def test_one_tensor_or_a_tuple_in_order_and_as_copies():
    x, y = torch.arange(5.0), torch.arange(5)
    assert rows(InMemoryLoader((x,), 2)) == [[0, 1], [2, 3], [4]]
    assert rows(InMemoryLoader((x,), 2, drop_last=True)) == [[0, 1], [2, 3]]
    assert len(InMemoryLoader((x,), 2)) == 3
    assert len(InMemoryLoader((x,), 2, drop_last=True)) == 2
    for shuffle in (False, True):
        for first, second in InMemoryLoader((x, y), 2, shuffle=shuffle):
            assert torch.equal(first.long(), second)
            first.zero_()
    assert torch.equal(x, torch.arange(5.0))
    assert torch.equal(InMemoryLoader((x, y), 2).dataset.tensors[0], x)


@pytest.mark.parametrize("shuffle", [True, False])
def test_a_mapping_gives_mappings_in_the_same_order(shuffle):
    x, context = torch.arange(5.0), torch.arange(5)
    loader = InMemoryLoader({"x": x, "context": context}, 2, shuffle=shuffle)
    pairs = InMemoryLoader((x, context), 2, shuffle=shuffle)
    for batch, (first, second) in zip(loader, pairs, strict=True):
        assert [*batch] == ["x", "context"]
        assert torch.equal(batch["x"], first)
        assert torch.equal(batch["context"], second)
        batch["x"].zero_()
    assert torch.equal(x, torch.arange(5.0))
    assert next(iter(InMemoryLoader({"x": x}, 5))).keys() == {"x"}
    assert len(loader.dataset) == 5
    assert loader.dataset[3] == {"x": 3.0, "context": 3}
    with pytest.raises(DataError, match=r"came \[5, 4\]"):
        InMemoryLoader({"x": x, "context": context[:4]}, 2)


def test_order_depends_on_seed_and_epoch_only():
    x = torch.arange(100)

    def order(seed, epoch):
        loader = InMemoryLoader((x,), 7, shuffle=True, seed=seed)
        torch.rand(1)
        loader.set_epoch(epoch)
        before = torch.get_rng_state()
        result = samples(loader)
        assert torch.equal(before, torch.get_rng_state())
        return result

    assert order(0, 1) == order(0, 1)
    assert sorted(order(0, 1)) == list(range(100))
    assert len({tuple(order(s, e)) for s in range(3) for e in range(3)}) == 9


@pytest.mark.parametrize("total", [7, 8, 9, 16, 17, 33])
@pytest.mark.parametrize("world", [2, 3])
def test_ranks_share_training_data_evenly(as_rank, total, world):
    loader = InMemoryLoader((torch.arange(total),), 4, shuffle=True)
    shares = []
    for rank in range(world):
        as_rank(rank, world)
        shares.append(rows(loader))
        assert len(loader) == len(shares[-1])
    assert len({tuple(map(len, share)) for share in shares}) == 1
    seen = [value for share in shares for batch in share for value in batch]
    assert set(seen) == set(range(total))
    assert len(seen) - total < world


@pytest.mark.parametrize("total", [7, 8, 9, 16, 17, 33])
@pytest.mark.parametrize("world", [2, 3])
def test_ranks_see_each_evaluation_sample_once_in_equally_many_batches(as_rank, total, world):
    loader = InMemoryLoader((torch.arange(total),), 4)
    seen, lengths = [], set()
    for rank in range(world):
        as_rank(rank, world)
        batches = rows(loader)
        assert all(1 <= len(batch) <= 4 for batch in batches)
        assert len(loader) == len(batches)
        lengths.add(len(batches))
        seen += chain.from_iterable(batches)
    assert sorted(seen) == list(range(total))
    assert len(lengths) == 1


@pytest.mark.parametrize("shuffle", [True, False])
def test_state_continues_an_epoch_with_other_ranks_and_batch_size(as_rank, shuffle):
    x = torch.arange(24)
    loader = InMemoryLoader((x,), 3, shuffle=shuffle)
    loader.set_epoch(5)
    iterator = iter(loader)
    seen = [*next(iterator).tolist(), *next(iterator).tolist()]
    state = loader.state_dict()
    for rank in range(2):
        as_rank(rank, 2)
        resumed = InMemoryLoader((x,), 4, shuffle=shuffle)
        resumed.load_state_dict(state)
        resumed.set_epoch(5)
        seen += samples(resumed)
        assert len(samples(resumed)) == 12  # only the first iterator is short
    assert sorted(seen) == list(range(24))


@pytest.mark.parametrize("shuffle", [True, False])
@pytest.mark.parametrize("drop_last", [True, False])
@pytest.mark.parametrize(
    ("total", "world", "batch_size"), [(7, 2, 1), (7, 2, 2), (7, 3, 2), (9, 2, 4), (23, 3, 4)]
)
def test_every_rank_sees_the_batches_that_remained(
    as_rank, total, world, batch_size, drop_last, shuffle
):
    def loader():
        made = InMemoryLoader(
            (torch.arange(total),), batch_size, shuffle=shuffle, drop_last=drop_last, seed=4
        )
        made.set_epoch(5)
        return made

    for stop in range(6):
        states = []
        for rank in range(world):
            as_rank(rank, world)
            whole, cut = rows(loader()), loader()
            for _ in zip(range(stop), iter(cut), strict=False):
                pass
            states.append(cut.state_dict())
            resumed = loader()
            resumed.load_state_dict(states[0])  # rank 0 writes the checkpoint
            resumed.set_epoch(5)  # as Lightning does: the same epoch is no new one
            assert rows(resumed) == whole[stop:]
        assert len({state["consumed"] for state in states}) == 1 or batch_size == 1
        again = loader()
        again.load_state_dict(states[0])
        again.set_epoch(5)
        assert again.state_dict() == states[0]
        again.set_epoch(6)
        assert again.state_dict() == {"epoch": 6, "consumed": 0}


@pytest.mark.parametrize(("before", "after"), [(1, 2), (2, 1), (2, 3), (3, 2)])
def test_another_number_of_ranks_sees_all_that_remained(as_rank, before, after):
    def loader(rank, world):
        as_rank(rank, world)
        return InMemoryLoader((torch.arange(23),), 3, shuffle=True, seed=1)

    for stop in range(3):
        seen, iterators = [], []
        for rank in range(before):
            cut = loader(rank, before)
            iterators.append(iter(cut))
            for _ in range(stop):
                seen += next(iterators[-1]).tolist()
        state = cut.state_dict()
        assert len(seen) == len({*seen}) == state["consumed"]
        shares = []
        for rank in range(after):
            resumed = loader(rank, after)
            resumed.load_state_dict(state)
            shares.append(rows(resumed))
        assert len({tuple(map(len, share)) for share in shares}) == 1
        rest = [value for share in shares for batch in share for value in batch]
        assert {*seen, *rest} == {*range(23)}
        assert len(seen) + len(rest) < 23 + after


def test_what_is_repeated_to_even_out_shares_begins_the_order(as_rank):
    loader = InMemoryLoader((torch.arange(7),), 2, shuffle=True, seed=2**62)
    order = samples(loader)
    shares = []
    for rank in range(3):
        as_rank(rank, 3)
        shares.append(samples(loader))
    assert [x for step in zip(*shares, strict=True) for x in step] == order + order[:2]


def test_state_of_a_finished_epoch_does_not_shorten_the_next():
    loader = InMemoryLoader((torch.arange(10),), 3, shuffle=True)
    samples(loader)
    resumed = InMemoryLoader((torch.arange(10),), 3, shuffle=True)
    resumed.load_state_dict(loader.state_dict())
    iterator = iter(resumed)
    resumed.set_epoch(1)  # as Lightning does: after the iterator was made
    assert len(list(iterator)) == 4


@pytest.mark.parametrize(("epoch", "left"), [(1, 5), (2, 3), (3, 5)])
def test_a_state_shortens_its_own_epoch_alone(epoch, left):
    loader = InMemoryLoader((torch.arange(10),), 2, shuffle=True)
    loader.load_state_dict({"epoch": 2, "consumed": 4})
    loader.set_epoch(epoch)
    assert len(rows(loader)) == left
    assert len(rows(loader)) == 5  # a second iterator begins anew


class Recorder(L.LightningModule):
    def __init__(self):
        super().__init__()
        self.net = nn.Linear(1, 1)
        self.seen = []

    def training_step(self, batch):
        self.seen.append((self.current_epoch, batch.flatten().tolist()))
        return self.net(batch).pow(2).mean()

    def validation_step(self, batch):
        pass

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), 1e-3)


class SaveOften(L.Callback):
    def __init__(self, folder):
        self.folder = folder

    def save(self, trainer, when):
        if not trainer.sanity_checking:
            trainer.save_checkpoint(self.folder / f"{when}{trainer.global_step}.ckpt")

    def on_train_batch_end(self, trainer, *_):
        self.save(trainer, "batch")

    def on_validation_end(self, trainer, *_):
        self.save(trainer, "validation")

    def on_train_epoch_end(self, trainer, *_):
        self.save(trainer, "epoch")


@pytest.mark.filterwarnings("ignore:.*LeafSpec:FutureWarning")  # between Lightning and torch
def test_a_run_resumed_anywhere_sees_the_same_batches(tmp_path):
    def run(folder, **options):
        module, data = Recorder(), torch.arange(10.0)[:, None]
        L.Trainer(
            max_epochs=3,
            accelerator="cpu",
            devices=1,
            callbacks=[SaveOften(tmp_path / folder)],
            logger=False,
            enable_checkpointing=False,
            enable_progress_bar=False,
            enable_model_summary=False,
        ).fit(
            module, InMemoryLoader((data,), 3, shuffle=True), InMemoryLoader((data,), 3), **options
        )
        return module.seen

    seen = run("whole")
    orders = [list(chain(*(batch for e, batch in seen if e == epoch))) for epoch in range(3)]
    assert all(sorted(order) == list(range(10)) for order in orders)
    assert len({tuple(order) for order in orders}) == 3
    assert len(seen) == 12
    for name in ("batch1", "batch3", "batch4", "validation4", "epoch4", "batch6", "epoch8"):
        step = int(name[-1])
        assert run("resumed", ckpt_path=tmp_path / f"whole/{name}.ckpt") == seen[step:], name


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        (((), 2), DataError, "data set is empty"),
        (((torch.zeros(0, 2),), 2), DataError, "data set is empty"),
        (((torch.zeros(3), torch.zeros(4)), 2), DataError, r"share their length; came \[3, 4\]"),
        (((torch.zeros(3),), 0), ConfigError, "batch_size is 0"),
    ],
)
def test_refusals(arguments, error, message):
    with pytest.raises(error, match=message):
        InMemoryLoader(*arguments)
    with pytest.raises(ConfigError, match="not one batch is left"):
        InMemoryLoader((torch.zeros(3),), 4, drop_last=True)
