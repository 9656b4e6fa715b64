"""Fields of a batch by name: context, labels, and what cannot be used as either."""

from functools import partial

import lightning as L
import pytest
import torch

from lightning_flows import DensityModule, RealNVP
from lightning_flows.core.errors import DataError, ShapeError
from lightning_flows.datamodules import FlowDataModule, one_hot
from lightning_flows.transforms import Standardize


class Conditions(FlowDataModule):
    """Sixteen points with further fields."""

    def __init__(self, context_shape=None, preprocess_context=None, batch_size=16, **fields):
        super().__init__(
            1,
            context_shape=context_shape,
            preprocess_context=preprocess_context,
            batch_size=batch_size,
        )
        self.fields = fields

    def load(self):
        return {"train": {"x": torch.arange(16.0)[:, None], **self.fields}}


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.int64])
def test_fields_reach_the_model_by_name_and_as_they_are(dtype):
    context = (30 * torch.rand(16, 2, generator=torch.Generator().manual_seed(0))).to(dtype)
    labels = torch.arange(16) % 3
    data = Conditions((2,), context=context, label=labels)
    data.setup()
    (batch,) = data.train_dataloader()
    index = batch["x"][:, 0].long()
    assert not torch.equal(index, torch.arange(16))  # shuffled, and together
    assert {*batch} == {"x", "context", "label"}
    assert torch.equal(batch["context"], context[index])
    assert batch["context"].dtype == dtype
    assert torch.equal(batch["label"], labels[index])
    item = data.train_dataloader().dataset[5]
    assert (item["x"], item["label"]) == (5, 2)
    assert torch.equal(item["context"], context[5])


def test_labels_are_no_context():
    """Even where a whole number would have the shape of the context."""
    labels = torch.arange(16)[:, None]
    data = Conditions(label=labels)
    quiet = ("logger", "enable_checkpointing", "enable_progress_bar", "enable_model_summary")
    trainer = L.Trainer(
        accelerator="cpu",
        devices=1,
        max_epochs=1,
        limit_val_batches=0,
        **dict.fromkeys(quiet, False),
    )
    module = DensityModule(partial(RealNVP, layers=2, hidden=(8,)), 1, 1)
    with pytest.raises(ShapeError, match=r"the entry 'context'; labels .* by datamodules\.one_hot"):
        trainer.fit(module, data)


def test_context_is_preprocessed_with_statistics_of_the_training_split():
    context = 1e3 + 30 * torch.randn(16, 2, dtype=torch.float64)
    data = Conditions((2,), Standardize(2), context=context)
    data.setup()
    assert torch.equal(data.preprocess_context.mean, context.mean(0))
    assert torch.equal(data.train_dataloader().tensors["context"], context)
    whole = Conditions((2,), context=context)
    whole.setup()
    assert whole.preprocess_context is None


@pytest.mark.parametrize("dtype", [torch.int64, torch.uint8, torch.uint16])
def test_labels_become_one_hot_where_asked_for(dtype):
    labels = (torch.arange(16) * 5 % 3).to(dtype)
    expected = torch.stack([labels == 0, labels == 1, labels == 2], 1).float()
    assert torch.equal(one_hot(labels, 3), expected)


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        (torch.rand(16), r"Mine has labels of type torch\.float32 .* is given as it is"),
        (torch.zeros(16, 1).long(), r"shape \(16, 1\); one-hot context needs one whole"),
        (torch.arange(16) % 4, "the label 3 in row 3; accepted are 0 to 2"),
        (torch.arange(16) % 3 - 1, "the label -1 in row 0"),
    ],
)
def test_labels_that_are_no_classes(labels, message):
    with pytest.raises(DataError, match=message):
        one_hot(labels, 3, "Mine")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (
            {"context_shape": 1, "context": torch.rand(16)},
            r"context of shape \(\); expected is \(1",
        ),
        ({"context_shape": 2, "context": torch.rand(16, 3)}, r"shape \(3,\); expected is \(2,\)"),
        ({"context_shape": 3, "context": torch.zeros(16).long()}, "become context by one_hot"),
        ({"context_shape": 1}, r"has no context, and context_shape is \(1,\)"),
        ({"context_shape": 3, "label": torch.zeros(16).long()}, "train .* has no context"),
        ({"context": torch.rand(16, 1)}, "has context, and context_shape is None"),
        (
            {"context_shape": 1, "context": torch.full((16, 1), torch.nan)},
            "NaN or infinite values in its context, first in row 0",
        ),
        ({"context_shape": 1, "context": torch.rand(16, 1) * 1j}, "complex values in its context"),
    ],
)
def test_context_that_cannot_be_used(options, message):
    data = Conditions(**options)
    with pytest.raises(DataError, match=message):
        data.setup()


def test_fields_of_different_lengths():
    data = Conditions(1, context=torch.rand(15, 1))
    data.setup()
    with pytest.raises(DataError, match=r"length; came \[16, 15\]"):
        data.train_dataloader()


def test_splits_are_mappings():
    data = Conditions()
    data.load = lambda: {"train": (torch.rand(16, 1),)}
    with pytest.raises(DataError, match="train split of Conditions is no mapping with the field"):
        data.setup()
