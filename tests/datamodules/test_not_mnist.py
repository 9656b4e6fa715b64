import gzip

import pytest
import torch

from image_files import idx, write_images
from lightning_flows.core.errors import ConfigError, DataError
from lightning_flows.datamodules import MNIST, NotMNIST
from lightning_flows.datamodules.readers.idx import read_idx


@pytest.mark.parametrize("packed", [True, False])
def test_letters_are_split_and_speak_the_units_of_mnist(tmp_path, packed):
    raw = write_images(tmp_path, "notMNIST", packed=packed, t10k=50)
    data = NotMNIST(str(tmp_path), validation=10, test=25, batch_size=8)
    data.prepare_data()
    data.setup("fit")
    loaders = data.train_dataloader(), data.val_dataloader(), data.test_dataloader()
    assert [len(loader.dataset) for loader in loaders] == [15, 10, 25]
    batch = next(iter(loaders[0]))
    x, labels = batch["x"], batch["label"]
    assert x.shape == (8, 1, 28, 28)
    assert (x.dtype, labels.dtype) == (torch.uint8, torch.int64)
    assert (data.event_shape, data.levels) == (MNIST().event_shape, MNIST().levels)
    assert data.label_names == tuple("ABCDEFGHIJ")
    # every letter is in one split, with its own label
    x, labels = (
        torch.cat([loader.dataset.tensors[name] for loader in loaders]) for name in ("x", "label")
    )
    original = read_idx(raw / "t10k-images-idx3-ubyte")
    same = (x == original).flatten(2).all(2)  # (50, 50), one row for each letter of a split
    assert (same.sum(0) == 1).all()
    assert torch.equal(same.long().argmax(1) % 10, labels)
    assert data.preprocess.encode(x)[0].isfinite().all()


def test_missing_and_damaged_files_say_what_to_do(tmp_path):
    with pytest.raises(DataError, match=r"neither .*t10k-images.* not downloaded: put t10k-images"):
        NotMNIST(str(tmp_path / "nowhere")).setup("fit")
    raw = write_images(tmp_path, "notMNIST", packed=True, t10k=20)
    with pytest.raises(ConfigError, match=r"Splits of \[1000, 5000\] rows leave -5980 of 20"):
        NotMNIST(str(tmp_path)).setup("fit")
    path = raw / "t10k-labels-idx1-ubyte.gz"
    path.write_bytes(path.read_bytes()[:20])
    with pytest.raises(DataError, match=r"notMNIST cannot be read: .*labels.* cannot be read"):
        NotMNIST(str(tmp_path)).setup("fit")


@pytest.mark.parametrize(
    "content",
    [
        b"",
        idx(torch.zeros(3, 2, dtype=torch.uint8))[:-1],
        idx(torch.zeros(3, 2, dtype=torch.uint8)) + b"0",
        b"\0\0\x0d\1\0\0\0\1\0\0\0\0",  # a floating point number
        b"\0\0\x08\0",
    ],
)
def test_what_is_no_idx_file_of_bytes_is_refused(tmp_path, content):
    (tmp_path / "file.gz").write_bytes(gzip.compress(content))
    with pytest.raises(DataError, match="not an idx file of bytes, or it is cut off"):
        read_idx(tmp_path / "file")


def test_real_letters(real_images):
    data = NotMNIST(real_images)
    data.setup("test")
    assert len(data.train_dataloader().dataset) == 4000
    x, labels = data.test_dataloader().dataset.tensors.values()
    assert len(x) == 5000
    assert labels.bincount().tolist() == pytest.approx([500] * 10, abs=80)
    assert 0.3 < (x == 0).float().mean() < 0.7  # bright on black, as MNIST
