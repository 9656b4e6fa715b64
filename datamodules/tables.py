"""The tables that flows are compared on: POWER, GAS, HEPMASS, MINIBOONE, BSDS300.

Splits and preprocessing are those of Papamakarios, Pavlakou and Murray 2017, "Masked
Autoregressive Flow for Density Estimation", as in the authors' code. Their archive is needed for
that: the extracts of GAS and BSDS300 in it were drawn at random, so that the original sources
(UCI, Berkeley) cannot give the same rows. What differs: GAS is read by a reader of our own, and
rows are kept in torch's default floating type.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch

from lightning_flows.core.errors import DataError, check_least

from .base import FlowDataModule, Splits
from .readers.download import fetch, md5_of, unpack
from .readers.files import said
from .readers.formats import read_npy
from .readers.frames import read_old_frame

__all__ = ["BSDS300", "GAS", "HEPMASS", "MINIBOONE", "POWER", "TableDataModule"]

_URL = "https://zenodo.org/records/1161203/files/data.tar.gz"
_MD5 = "9b9c9b0375315ad270eba4ce80c093ab"

_Rows = np.ndarray[Any, np.dtype[Any]]
_Parts = tuple[_Rows, _Rows, _Rows]


class TableDataModule(FlowDataModule):
    """Base of the five tables: what they share is the archive they come in.

    Rows are standardized as published, and `preprocess` is None: log-densities are nats of the
    standardized rows, as in published tables, and not of the original units.

    Subclasses name their files and the number of columns that the preprocessing leaves, and say
    how to `read` the splits.

    Args:
        data_dir: folder of the data, laid out like the archive (power/data.npy, and so on). What
            is missing there is taken from data.tar.gz in it, which is downloaded if need be.
        limit: train on this many rows only; all by default.
        batch_size: rows in a batch, on each device.
        seed: starting point of the order of training data; the splits are fixed.
    """

    files: tuple[str, ...]
    features: int

    def __init__(
        self,
        data_dir: str = "data",
        *,
        limit: int | None = None,
        batch_size: int = 512,
        seed: int = 0,
    ) -> None:
        check_least(1, limit=limit)
        super().__init__(self.features, batch_size=batch_size, seed=seed)
        self.save_hyperparameters(logger=False)
        self.data_dir = data_dir
        self.limit = limit

    def read(self, folder: Path) -> _Parts:
        """Read and preprocess the files.

        Args:
            folder: the folder that `files` are in.

        Returns:
            Rows to train, validate and test on, each (rows, features).
        """
        raise NotImplementedError

    def prepare_data(self) -> None:
        """Take missing files from the archive, and download that if it is not there either."""
        folder = Path(self.data_dir)
        if not self._missing():
            return
        archive = folder / "data.tar.gz"
        if archive.exists():
            came = md5_of(archive)
            if came != _MD5:
                raise DataError(
                    f"{archive} has MD5 {came}; that of {_URL} is {_MD5}: move the file away, or "
                    "set data_dir to another folder."
                )
        fetch(_URL, archive, _MD5)
        unpack(archive, self.files, folder)

    def load(self) -> Splits:
        missing = self._missing()
        if missing:
            raise DataError(
                f"{type(self).__name__} lacks {' and '.join(missing)} in {self.data_dir!r} and "
                "prepare_data has not run: call it, or set data_dir to a folder that holds them."
            )
        try:
            train, val, test = self.read(Path(self.data_dir))
        except DataError:
            raise
        except Exception as error:  # a damaged file raises whatever numpy, pandas or h5py has
            raise DataError(
                f"{type(self).__name__} cannot be made from {' and '.join(self.files)} in "
                f"{self.data_dir!r}: {said(error)}."
            ) from error
        dtype = torch.get_default_dtype()
        parts = {"train": train[: self.limit], "val": val, "test": test}
        return {name: {"x": torch.as_tensor(rows).to(dtype)} for name, rows in parts.items()}

    def _missing(self) -> list[str]:
        return [name for name in self.files if not (Path(self.data_dir) / name).is_file()]


class POWER(TableDataModule):
    """Electric power of a household: 6 columns, 1,659,917 rows to train on.

    Of the eight columns of the file reactive power and global intensity (places 1 and 3) go.
    Rows are shuffled; uniform noise hides how coarsely values were recorded: 0.001 on active
    power, 0.01 on voltage, 1 on the three meters, none on the time. Standardized with training
    and validation rows. Shuffle and noise are the published ones, draw by draw.
    """

    files = ("power/data.npy",)
    features = 6

    def read(self, folder: Path) -> _Parts:
        rows = read_npy(folder / self.files[0])
        total = len(rows)
        generator = np.random.RandomState(42)  # the published draws need the old generator
        rows = rows[generator.permutation(total)][:, [0, 2, 4, 5, 6, 7]].astype(np.float64)
        rows[:, 1] += 0.01 * generator.rand(total)
        rows[:, 0] += 0.001 * generator.rand(total)
        rows[:, 2:5] += generator.rand(total, 3)
        train, val, test = _cut(rows)
        return _standardized((train, val, test), np.concatenate([train, val]), ddof=0)


class GAS(TableDataModule):
    """Sensors in a mixture of ethylene and carbon monoxide: 8 columns, 852,174 rows to train on.

    Time and the two concentrations go, then one by one the first column that correlates by more
    than 0.98 with another that is left. Standardized with all rows, those to test on included, as
    published. The rows are in the order of the file.
    """

    files = ("gas/ethylene_CO.pickle",)
    features = 8

    def read(self, folder: Path) -> _Parts:
        columns = read_old_frame(folder / self.files[0])
        for name in ("Meth", "Eth", "Time"):
            if name not in columns:
                raise ValueError(f"there is no column {name!r}")
            del columns[name]
        rows = np.stack(list(columns.values()), 1)
        _refuse_constant(rows)
        similar = np.corrcoef(rows, rowvar=False) > 0.98
        np.fill_diagonal(similar, False)
        left = np.ones(len(similar), dtype=bool)
        for column in range(len(similar)):
            left[column] = not similar[column, left].any()
        rows = rows[:, left]
        return _standardized(_cut(rows), rows, ddof=1)


class HEPMASS(TableDataModule):
    """Collisions that make a particle of mass 1000: 21 columns, 315,123 rows to train on.

    Signal rows alone are kept, and the label goes. A column goes if its smallest value occurs
    more than five times, which is what the published code counts of "recurring values".
    Standardized with training and validation rows. The file of the test rows has a column more
    at its end, which goes.
    """

    files = ("hepmass/1000_train.csv", "hepmass/1000_test.csv")
    features = 21

    def read(self, folder: Path) -> _Parts:
        import pandas as pd

        known, test = (
            pd.read_csv(folder / name, index_col=False).to_numpy(np.float64) for name in self.files
        )
        test = test[:, : known.shape[1]]
        known, test = (rows[rows[:, 0] == 1, 1:] for rows in (known, test))
        kept = (known == known.min(0)).sum(0) <= 5
        known, test = known[:, kept], test[:, kept]
        held_out = int(0.1 * len(known))
        parts = (known[: len(known) - held_out], known[len(known) - held_out :], test)
        return _standardized(parts, known, ddof=1)


class MINIBOONE(TableDataModule):
    """Electron neutrinos: 43 columns, 29,556 rows to train on.

    The file of the archive has lost outliers and columns with recurring values already.
    Standardized with training and validation rows. The rows are in the order of the file.
    """

    files = ("miniboone/data.npy",)
    features = 43

    def read(self, folder: Path) -> _Parts:
        train, val, test = _cut(read_npy(folder / self.files[0]).astype(np.float64))
        return _standardized((train, val, test), np.concatenate([train, val]), ddof=0)


class BSDS300(TableDataModule):
    """Patches of natural images, 8 x 8 pixels: 63 columns, 1,000,000 rows to train on.

    The file of the archive holds patches less their mean, without the last pixel, which follows
    from the others. They are not standardized, as published.
    """

    files = ("BSDS300/BSDS300.hdf5",)
    features = 63

    def prepare_data(self) -> None:
        _h5_file()  # before a long download
        super().prepare_data()

    def read(self, folder: Path) -> _Parts:
        with _h5_file()(folder / self.files[0], "r") as file:
            return file["train"][:], file["validation"][:], file["test"][:]


def _h5_file() -> Callable[..., Any]:
    try:
        import h5py
    except ImportError as error:
        raise DataError("BSDS300 needs h5py: pip install lightning-flows[hdf5].") from error
    opened: Callable[..., Any] = h5py.File
    return opened


def _cut(rows: _Rows) -> _Parts:
    """Cut off the last tenth to test on, then the last tenth of the rest to validate on."""
    kept = len(rows) - int(0.1 * len(rows))
    train = kept - int(0.1 * kept)
    return rows[:train], rows[train:kept], rows[kept:]


def _standardized(parts: _Parts, reference: _Rows, *, ddof: int) -> _Parts:
    """Scale all parts with mean and standard deviation (n - ddof) of the reference rows."""
    _refuse_constant(reference)
    mean, std = reference.mean(0), reference.std(0, ddof=ddof)
    train, val, test = ((rows - mean) / std for rows in parts)
    return train, val, test


def _refuse_constant(rows: _Rows) -> None:
    constant = np.flatnonzero(rows.max(0) == rows.min(0)).tolist()
    if constant:
        raise ValueError(f"columns {', '.join(map(str, constant))} are constant")
