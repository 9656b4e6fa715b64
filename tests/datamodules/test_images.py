import math
from pathlib import Path

import lightning as L
import pytest
import torch
from torch.nn import functional as F

from image_files import write_images
from lightning_flows.bases.normal import Normal
from lightning_flows.core.errors import ConfigError, DataError
from lightning_flows.datamodules import MNIST, Digits, FashionMNIST, split_indices
from lightning_flows.datamodules.readers.idx import read_idx
from lightning_flows.transforms.bijections.standardize import Standardize


def ready(data):
    data.prepare_data()
    data.setup("fit")
    return data


def test_digits_have_shapes_before_and_disjoint_splits_after_setup():
    data = Digits()
    assert data.event_shape == (1, 8, 8)
    assert data.context_shape is None
    assert data.num_classes == 10
    ready(data)
    loaders = data.train_dataloader(), data.val_dataloader(), data.test_dataloader()
    assert [len(loader.dataset) for loader in loaders] == [1297, 200, 300]
    batch = next(iter(loaders[0]))
    x, labels = batch["x"], batch["label"]
    assert x.shape == (128, 1, 8, 8)
    assert x.dtype == torch.uint8
    assert x.max() == 16
    assert labels.dtype == torch.int64
    everything = torch.cat([loader.dataset.tensors["x"] for loader in loaders]).long()
    assert everything.sum() == 561718  # as in scikit-learn
    image = data.to_image(x)
    assert (image.min(), image.max()) == (0, 1)


def test_binary_digits_have_two_classes_and_no_preprocessing():
    data, gray = ready(Digits(binarize=True, context="one-hot")), ready(Digits(context="one-hot"))
    assert data.preprocess is None
    for split in ("train", "val", "test"):
        fields, others = data._splits[split], gray._splits[split]
        assert fields["x"].dtype == torch.uint8
        assert torch.equal(fields["x"], (others["x"] >= 8).to(torch.uint8))
        assert torch.equal(fields["context"], others["context"])
    assert data.to_image(fields["x"]).unique().tolist() == [0, 1]


def test_the_split_depends_on_the_seed_alone():
    first, second, other = (ready(Digits(seed=s)) for s in (1, 1, 2))
    test = [data.test_dataloader().dataset.tensors["label"] for data in (first, second, other)]
    assert torch.equal(test[0], test[1])
    assert not torch.equal(test[0], test[2])


def test_statistics_come_from_training_data_once_and_spare_the_random_state():
    data = Digits()
    before = torch.get_rng_state()
    ready(data)
    assert torch.equal(before, torch.get_rng_state())
    assert data.preprocess.training
    x = data.train_dataloader().dataset.tensors["x"]
    z, _ = data.preprocess.eval().encode(x)
    assert torch.allclose(z.mean(0), torch.zeros(1, 8, 8), atol=1e-4)
    assert torch.allclose(z.std(0), torch.ones(1, 8, 8), atol=1e-4)
    standardize = data.preprocess.transforms[2]
    assert isinstance(standardize, Standardize)
    mean = standardize.mean.clone()
    data.setup("test")
    assert torch.equal(standardize.mean, mean)
    other = ready(Digits(validation=600, test=0))
    assert not torch.equal(other.preprocess.transforms[2].mean, mean)
    with pytest.raises(DataError, match="Digits has no test split"):
        other.test_dataloader()


def test_log_densities_speak_of_the_integers():
    # a model that is uniform over the dequantized cube gives each image 17**-64
    data = ready(Digits())
    data.preprocess.eval()
    x = data.val_dataloader().dataset.tensors["x"]
    z, contribution = data.preprocess.encode(x)
    again, other = data.preprocess.decode(z)
    assert torch.equal(again, x.float())
    assert torch.allclose(contribution, other)
    logit, standardize = data.preprocess.transforms[1:]
    _, to_cube = standardize.decode(z)
    unit, slope = logit.decode(standardize.decode(z)[0])
    assert ((unit > 0) & (unit < 1)).all()
    uniform = contribution - to_cube - slope  # the log-density of z if unit is uniform
    assert torch.allclose(uniform, torch.full_like(uniform, -64 * math.log(17)), rtol=1e-4)
    # and a standard normal in z, a sensible first guess, beats it
    assert (Normal((1, 8, 8)).log_prob(z) + contribution).mean() > -64 * math.log(17)


def test_conditional_labels_are_one_hot_context():
    data = ready(Digits(context="one-hot"))
    assert data.context_shape == (10,)
    plain = ready(Digits()).val_dataloader().dataset.tensors["label"]
    context = data.val_dataloader().dataset.tensors["context"]
    assert torch.equal(context, F.one_hot(plain, 10).float())


@pytest.fixture
def tiny(tmp_path):
    """Sixty random images in the files of MNIST and Fashion-MNIST."""
    for name in ("MNIST", "FashionMNIST"):
        write_images(tmp_path, name, train=60, t10k=20)
    return str(tmp_path)


@pytest.mark.parametrize("kind", [MNIST, FashionMNIST])
def test_downloaded_images(tiny, kind):
    data = ready(kind(tiny, validation=15, limit=30, batch_size=8))
    loaders = data.train_dataloader(), data.val_dataloader(), data.test_dataloader()
    assert [len(loader.dataset) for loader in loaders] == [30, 15, 20]
    batch = next(iter(loaders[2]))
    x, labels = batch["x"], batch["label"]
    assert x.shape == (8, 1, 28, 28)
    assert x.dtype == torch.uint8
    assert labels.tolist() == list(range(8))
    assert len(data.label_names) == 10
    assert data.preprocess.encode(x)[0].isfinite().all()


@pytest.mark.parametrize("kind", [MNIST, FashionMNIST])
def test_images_keep_their_own_labels_in_every_split(tiny, kind):
    data = ready(kind(tiny, validation=15, limit=30, seed=2))
    raw = Path(tiny) / kind.__name__ / "raw"
    kept, held_out = split_indices(60, (15,), 2)
    for loader, prefix, index in [
        (data.train_dataloader(), "train", kept[:30]),
        (data.val_dataloader(), "train", held_out),
        (data.test_dataloader(), "t10k", torch.arange(20)),
    ]:
        x, labels = loader.dataset.tensors.values()
        assert torch.equal(x[:, 0], read_idx(raw / f"{prefix}-images-idx3-ubyte")[index])
        assert torch.equal(labels, index % 10)


def test_missing_images_say_what_to_do(tmp_path, tiny, monkeypatch):
    missing = str(tmp_path / "nowhere")
    with pytest.raises(DataError, match=r"FashionMNIST is not complete in .*nowhere.*put the four"):
        FashionMNIST(missing).setup("fit")

    def offline(*_, **__):
        raise RuntimeError("no network")

    monkeypatch.setattr("torchvision.datasets.MNIST", offline)
    with pytest.raises(DataError, match="could not be downloaded: go online"):
        MNIST(missing).prepare_data()
    with pytest.raises(ConfigError, match=r"Splits of \[60\] rows leave 0 of 60"):
        FashionMNIST(tiny, validation=60).setup("fit")
    with pytest.raises(ConfigError, match="limit is 0"):
        MNIST(limit=0)


@pytest.mark.parametrize("kind", [MNIST, FashionMNIST])
def test_real_files(real_images, kind):
    data = ready(kind(real_images, limit=2000))
    assert len(data.val_dataloader().dataset) == 5000
    assert len(data.test_dataloader().dataset) == 10000
    x, labels = data.train_dataloader().dataset.tensors.values()
    assert x.shape == (2000, 1, 28, 28)
    assert labels.bincount().min() > 150
    z, _ = data.preprocess.eval().encode(x)
    assert torch.allclose(z.std(0), torch.ones(1, 28, 28), atol=1e-3)


def test_hyperparameters_travel_without_meeting_those_of_a_module(tmp_path):
    data = Digits(batch_size=32, context="one-hot")
    assert dict(data.hparams) == {
        "validation": 200, "test": 300, "alpha": 0.05, "context": "one-hot", "batch_size": 32,
        "seed": 0, "binarize": False,
    }  # fmt: skip
    assert isinstance(data, L.LightningDataModule)
