"""Files of every format, and ways to damage them."""

import gzip
import random

import numpy as np
import pandas as pd
import torch

from image_files import idx
from lightning_flows.datamodules import Arrays
from lightning_flows.datamodules.readers.frames import read_old_frame
from lightning_flows.datamodules.readers.idx import read_idx

_X = np.random.default_rng(0).normal(size=(20, 3))
_FRAME = pd.DataFrame(_X, columns=["a", "b", "c"])
_IMAGES = torch.arange(2 * 28 * 28).reshape(2, 28, 28).to(torch.uint8)


def write_all(folder, write_old_frame):
    """One small file of each format, and what reads it."""
    np.save(folder / "x.npy", _X)
    np.save(folder / "long.npy", _X.astype(np.longdouble))
    np.savez(folder / "x.npz", train=_X, test=_X)
    np.savez_compressed(folder / "packed.npz", data=_X.astype(np.float32))
    _FRAME.to_csv(folder / "x.csv", index=False)
    _FRAME.to_csv(folder / "x.tsv", index=False, sep="\t")
    _FRAME.assign(n=range(20)).to_parquet(folder / "x.parquet")
    (folder / "images-ubyte").write_bytes(idx(_IMAGES))
    (folder / "packed-ubyte.gz").write_bytes(gzip.compress(idx(_IMAGES)))
    write_old_frame(folder / "x.pickle", {name: _X[:, i] for i, name in enumerate("abc")})


def read(path):
    """Read a file as the data modules do."""
    if path.name.endswith("ubyte"):
        read_idx(path)
    elif path.suffix == ".gz":
        read_idx(path.with_suffix(""))
    elif path.suffix == ".pickle":
        read_old_frame(path)
    else:
        Arrays(str(path), validation=0.0, test=0.0).setup()


def damage(content, seed):
    """A copy of some bytes that is cut off, or in which bytes are changed, added or moved."""
    rng = random.Random(seed)
    broken = bytearray(content)
    kind = rng.randrange(5)
    if kind == 0:
        del broken[rng.randrange(len(broken)) :]
    elif kind == 1:
        start = rng.randrange(len(broken))
        del broken[start : start + rng.randrange(1, 64)]
    elif kind == 2:
        start = rng.randrange(len(broken))
        broken[start:start] = rng.randbytes(rng.randrange(1, 64))
    else:
        # mostly where headers are, at the ends
        for _ in range(rng.randrange(1, 9)):
            place = min(int(rng.expovariate(1 / 60)), len(broken) - 1)
            place = rng.choice([place, len(broken) - 1 - place, rng.randrange(len(broken))])
            broken[place] = rng.choice([rng.randrange(256), 0, 255, broken[place] ^ 1, ord("9")])
    return bytes(broken)
