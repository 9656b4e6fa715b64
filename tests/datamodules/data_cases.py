"""Data modules with what they hold. A new one is one line in `CASES`."""

from pathlib import Path

import numpy as np

from lightning_flows.bases import Uniform
from lightning_flows.datamodules import (
    MINIBOONE,
    POWER,
    Arrays,
    Digits,
    Draws,
    Earth,
    FlowDataModule,
    Torsion,
    Toy,
)
from lightning_flows.targets import NormalPosterior, Ring
from manifold_files import write_earth, write_torsion
from proofs.datamodule import DataCase

X = np.random.default_rng(0).normal(size=(101, 3))
SHARES = np.random.default_rng(1).uniform(size=(101, 3))
RANGES = np.stack([360 * SHARES[:, 0], SHARES[:, 1], 5 * SHARES[:, 2]], 1)
CLASSES = np.concatenate([X, np.arange(101)[:, None] % 3], 1)
PARTS = dict(zip(("train", "val", "test"), np.split(X, [60, 82]), strict=True))
SIZES = {"n_train": 45, "n_val": 31, "n_test": 27, "batch_size": 8}


def from_a_file(folder: Path) -> FlowDataModule:
    np.save(folder / "x.npy", X)
    return Arrays(str(folder / "x.npy"), validation=0.2, test=0.3, batch_size=8)


def table(kind: type[FlowDataModule], columns: int, folder: Path) -> FlowDataModule:
    path = folder / kind.__name__.lower() / "data.npy"
    path.parent.mkdir()
    np.save(path, np.random.default_rng(0).normal(3, 2, (230, columns)))
    return kind(str(folder), batch_size=8)  # type: ignore[arg-type]  # tables take a folder


def on_earth(folder: Path) -> FlowDataModule:
    write_earth(folder)
    return Earth("floods", str(folder), batch_size=8)


def of_rna(folder: Path) -> FlowDataModule:
    write_torsion(folder)
    return Torsion("rna", str(folder), batch_size=8)


CASES: dict[str, DataCase] = {
    "Toy": DataCase(lambda _: Toy("moons", **SIZES), (45, 31, 27), (2,)),
    "Toy (3D)": DataCase(lambda _: Toy("torus", standardize=True, **SIZES), (45, 31, 27), (3,)),
    "Draws": DataCase(lambda _: Draws(Ring(), **SIZES), (45, 31, 27), (2,)),
    "Draws (conditional)": DataCase(
        lambda _: Draws(NormalPosterior(), contexts=Uniform(1, low=-2.0), **SIZES),
        (45, 31, 27),
        (2,),
        (1,),
    ),
    "Arrays (file)": DataCase(from_a_file, (51, 20, 30), (3,)),
    "Arrays": DataCase(lambda _: Arrays(data=X, batch_size=8), (81, 10, 10), (3,), data=X),
    "Arrays (splits)": DataCase(
        lambda _: Arrays(data=PARTS, batch_size=8), (60, 22, 19), (3,), data=PARTS
    ),
    "Arrays (classes)": DataCase(
        lambda _: Arrays(data=CLASSES, categorical=[3], batch_size=8),
        (81, 10, 10),
        (4,),
        data=CLASSES,
    ),
    "Arrays (ranges)": DataCase(
        lambda _: Arrays(
            data=RANGES, periodic=[0], period=360, bounds={1: [0.0, 1.0]}, batch_size=8
        ),
        (81, 10, 10),
        (3,),
        data=RANGES,
    ),
    "Earth": DataCase(on_earth, (80, 10, 10), (3,)),
    "Torsion": DataCase(of_rna, (80, 10, 10), (7,)),
    "Digits": DataCase(lambda _: Digits(), (1297, 200, 300), (1, 8, 8), labels=True),
    "Digits (conditional)": DataCase(
        lambda _: Digits(context="one-hot"), (1297, 200, 300), (1, 8, 8), (10,), labels=True
    ),
    "POWER": DataCase(lambda folder: table(POWER, 8, folder), (187, 20, 23), (6,)),
    "MINIBOONE": DataCase(lambda folder: table(MINIBOONE, 43, folder), (187, 20, 23), (43,)),
}
