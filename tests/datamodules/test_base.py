"""Splits, loaders and the life of a data module in a Trainer."""

import json
import os
from functools import partial
from types import SimpleNamespace

import lightning as L
import pytest
import torch
from torch import nn

from lightning_flows import DensityModule, RealNVP
from lightning_flows.core.errors import ConfigError, DataError, ShapeError
from lightning_flows.datamodules import Digits, FlowDataModule, Toy, split_indices
from lightning_flows.transforms import Chain, Dequantize, Logit, Standardize


class Numbers(FlowDataModule):
    """The integers from 0 to 20 to train on, from 100 to 110 to evaluate."""

    def __init__(self, train=None, **options):
        super().__init__(1, preprocess=Standardize(1), **options)
        self.train = torch.arange(21.0)[:, None] if train is None else train
        self.loaded = 0

    def load(self):
        self.loaded += 1
        held_out = torch.arange(100.0, 111)[:, None]
        return {"train": {"x": self.train}, "val": {"x": held_out}, "test": {"x": held_out}}


class Recorder(L.LightningModule):
    """Writes down what it sees; buffers are what DDP synchronizes in every forward."""

    def __init__(self, folder=None):
        super().__init__()
        self.folder = folder
        self.net = nn.BatchNorm1d(1)
        self.seen = {"train": [], "val": []}

    def note(self, stage, batch):
        if not self.trainer.sanity_checking:
            self.seen[stage].append(batch["x"].flatten().tolist())

    def training_step(self, batch):
        self.note("train", batch)
        return self.net(batch["x"]).pow(2).mean()

    def validation_step(self, batch):
        self.note("val", batch)
        # a float: Lightning averages whole batch sizes over ranks in whole numbers
        x = batch["x"]
        self.log("val/mean", x.mean(), batch_size=float(len(x)), sync_dist=True)

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), 1e-3)

    def on_train_end(self):
        if self.folder is not None:
            mean = float(self.trainer.callback_metrics["val/mean"])
            path = os.path.join(self.folder, f"{self.global_rank}.json")
            with open(path, "w") as file:
                json.dump({**self.seen, "mean": mean}, file)


def trainer(**options):
    return L.Trainer(
        accelerator="cpu",
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        **{"devices": 1, "max_epochs": 2, **options},
    )


lightning = pytest.mark.filterwarnings(
    "ignore:.*LeafSpec:FutureWarning",  # between Lightning and torch
    "ignore:.*fork:DeprecationWarning",
)


def test_setup_loads_once_and_fits_on_training_data():
    data = Numbers()
    assert data.event_shape == (1,)
    for stage in ("fit", "validate", "test", "predict"):
        data.setup(stage)
    assert data.loaded == 1
    assert data.preprocess.mean == 10
    assert len(data.predict_dataloader().dataset) == 11


def test_splits_are_cut_from_a_shuffle_that_the_seed_alone_decides():
    first, second, third = split_indices(11, (4, 2), seed=5)
    assert [len(first), len(second), len(third)] == [5, 4, 2]
    assert sorted([*first.tolist(), *second.tolist(), *third.tolist()]) == [*range(11)]
    order = torch.randperm(11, generator=torch.Generator().manual_seed(5))
    assert torch.equal(torch.cat([first, second, third]), order)
    assert not torch.equal(torch.cat(split_indices(11, (4, 2), seed=6)), order)
    assert [len(piece) for piece in split_indices(5, (), 0)] == [5]
    assert [len(piece) for piece in split_indices(5, (4, 0), 0)] == [1, 4, 0]
    for sizes in ((5,), (3, 2), (-1, 2)):
        with pytest.raises(ConfigError, match="of 5 rows to train on"):
            split_indices(5, sizes, 0)


def test_training_data_is_shuffled_by_the_seed_and_the_rest_is_in_order():
    orders = set()
    for seed in (0, 1, 0):
        data = Numbers(seed=seed, batch_size=4)
        data.setup()
        batches = [batch["x"] for batch in data.train_dataloader()]
        assert [len(batch) for batch in batches] == [4, 4, 4, 4, 4, 1]  # the last one too
        orders.add(tuple(torch.cat(batches).flatten().tolist()))
        for loader in (data.val_dataloader(), data.test_dataloader(), data.predict_dataloader()):
            rows = torch.cat([batch["x"] for batch in loader])
            assert rows.flatten().tolist() == [*range(100, 111)]
    assert len(orders) == 2
    assert all(sorted(order) == [*range(21)] != [*order] for order in orders)


@lightning
def test_overfitting_repeats_the_same_batches():
    module = Recorder()
    trainer(overfit_batches=2).fit(module, Numbers(batch_size=4))
    first = [[0, 1, 2, 3], [4, 5, 6, 7]]
    assert module.seen["train"] == first + first


@lightning
def test_two_processes_share_the_data(tmp_path):
    trainer(strategy="ddp_fork", devices=2).fit(Recorder(tmp_path), Numbers(batch_size=4))
    ranks = [json.loads((tmp_path / f"{rank}.json").read_text()) for rank in range(2)]
    assert [list(map(len, rank["train"])) for rank in ranks] == [[4, 4, 3] * 2] * 2
    for epoch in (slice(0, 3), slice(3, 6)):
        seen = [x for rank in ranks for batch in rank["train"][epoch] for x in batch]
        assert set(seen) == set(range(21))
        assert len(seen) == 22
    assert ranks[0]["train"][:3] != ranks[0]["train"][3:]
    held_out = [x for rank in ranks for batch in rank["val"] for x in batch]
    assert sorted(held_out) == sorted([*range(100, 111)] * 2)  # once in each of two epochs
    assert [rank["mean"] for rank in ranks] == pytest.approx([105, 105])


@lightning
def test_a_family_keeps_the_preprocessing_and_scores_in_original_units():
    data = Toy("checkerboard", n_train=200, n_val=100, n_test=100, standardize=True)
    module = DensityModule(partial(RealNVP, layers=1, hidden=(8,)), data.event_shape)
    trainer(max_epochs=1, log_every_n_steps=1).fit(module, data)
    x = data.val_dataloader().dataset.tensors["x"]
    z, _ = data.preprocess.encode(x)
    expected = module.flow.log_prob(z) - data.preprocess.std.log().sum()
    assert torch.allclose(module.log_prob(x), expected)
    assert module.trainer.callback_metrics["val/nll"] == pytest.approx(
        -expected.mean().item(), abs=1e-4
    )


@lightning
def test_a_model_of_digits_is_conditioned_on_their_labels():
    data = Digits(context="one-hot")
    module = DensityModule(
        partial(RealNVP, layers=1, hidden=(8,)), data.event_shape, data.context_shape
    )
    trainer(max_epochs=1, log_every_n_steps=1, limit_train_batches=2).fit(module, data)
    assert module.trainer.callback_metrics["val/nll"].isfinite()
    x = module.sample(3, torch.eye(10)[:2])
    assert x.shape == (2, 3, 1, 8, 8)
    assert torch.equal(x, x.round())
    assert data.to_image(x[0]).max() <= 1


def test_hyperparameters_restore_a_data_module(tmp_path):
    data = Toy("rings", n_train=50, noise=0.2)
    path = tmp_path / "data.ckpt"
    torch.save(
        {
            "pytorch-lightning_version": L.__version__,
            Toy.CHECKPOINT_HYPER_PARAMS_KEY: dict(data.hparams),
        },
        path,
    )
    again = Toy.load_from_checkpoint(path)
    assert again.hparams == data.hparams
    assert again.noise == 0.2


def test_apple_gpus_are_spared_float64():
    data = Numbers()
    x, labels = torch.zeros(2, 1).double(), torch.zeros(2).long()
    for device, dtype in (("mps", torch.float32), ("cuda", torch.float64)):
        strategy = SimpleNamespace(root_device=torch.device(device))
        data.trainer = SimpleNamespace(strategy=strategy)
        assert data.on_before_batch_transfer(x, 0).dtype == dtype
        pair = data.on_before_batch_transfer((x, labels), 0)
        assert [part.dtype for part in pair] == [dtype, torch.int64]
        named = data.on_before_batch_transfer({"x": x, "label": labels}, 0)
        assert {name: part.dtype for name, part in named.items()} == {
            "x": dtype, "label": torch.int64
        }  # fmt: skip


def with_value(value):
    x = torch.arange(21.0)[:, None]
    x[13] = value
    return x


@pytest.mark.parametrize(
    ("train", "message"),
    [
        (torch.zeros(0, 1), "The train split of Numbers is empty"),
        (torch.zeros(5, 2), r"events of shape \(2,\); expected is \(1,\)"),
        (with_value(float("nan")), "NaN or infinite values, first in row 13"),
        (with_value(float("inf")), "NaN or infinite values, first in row 13"),
        (torch.ones(5, 1), "constant columns 0"),
        (torch.ones(1, 1), "at least 2 rows"),
    ],
)
def test_data_that_cannot_be_learned_from(train, message):
    with pytest.raises(DataError, match=message):
        Numbers(train).setup()


def test_refusals():
    with pytest.raises(ConfigError, match="batch_size is 0"):
        Numbers(batch_size=0)
    with pytest.raises(ConfigError, match="a preprocess_context and no context_shape"):
        Numbers(preprocess_context=Standardize(1))
    with pytest.raises(ShapeError, match="context_shape is 0"):
        Numbers(context_shape=0)


@pytest.mark.parametrize("different", [1, 2])
def test_statistics_of_equal_integers_are_those_of_independent_noise(different):
    x = torch.arange(5000)[:, None] % different

    class Equal(FlowDataModule):
        def load(self):
            return {"train": {"x": x}}

    data = Equal(1, preprocess=Chain([Dequantize(1, 2), Logit(1), Standardize(1)]))
    data.setup()
    dequantize, logit, standardize = data.preprocess.transforms
    z = logit(dequantize.eval()(x)[0])[0]
    assert len(z.unique()) > 4990
    torch.testing.assert_close(standardize.mean, z.double().mean(0))
    torch.testing.assert_close(standardize.std, z.double().std(0))
