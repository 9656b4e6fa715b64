"""Data on known manifolds: events on the Earth, torsion angles of molecules."""

from pathlib import Path
from typing import Literal, get_args

import numpy as np
import torch
from torch import Tensor

from lightning_flows.core.errors import ConfigError, DataError

from .base import FlowDataModule, Splits, split_indices
from .readers.download import fetch
from .readers.files import read_content

__all__ = ["Earth", "EarthName", "Torsion", "TorsionName"]

EarthName = Literal["quakes", "floods", "fires"]
TorsionName = Literal["rna", "protein", "arg", "lys", "gln", "met", "his", "trp", "cys", "cispro"]

_EARTH = "https://raw.githubusercontent.com/oxcsml/riemannian-score-sde/5b48a7f7e175894afb6933f5e5f367b5a0eb65d7/data/"
_EVENTS = {
    "quakes": ("quakes_all.csv", "ad751359a52e033ebbc6c805ea3beb5f"),
    "floods": ("flood.csv", "7971c38941c7c3f924e728e5ac3a0dae"),
    "fires": ("fire.csv", "bcb32e0c0b6db35097aead8947971941"),
}
_RNA = "https://raw.githubusercontent.com/vislearn/FFF/7b99c97693c0ea24ca8b84d1884766cec751fb5f/fff/data/raw_data/torus/rna.tsv"
_RNA_MD5 = "8dcf87cec3dc9dbbfcacd64fe1c09572"
_RNA_COLUMNS = ("alpha", "beta", "gamma", "delta", "epsilon", "zeta", "chi")
_PROTEIN_COLUMNS = ("phi", "psi", "chi1", "chi2", "chi3", "chi4")


class Earth(FlowDataModule):
    """Places of events on the Earth as points of the unit sphere (Mathieu and Nickel 2020).

    6,120 earthquakes (NOAA), 4,875 floods (Dartmouth Flood Observatory) or 12,809 fires (NASA
    FIRMS). x = (cos lat cos lon, cos lat sin lon, sin lat), so that z points to the north pole;
    densities refer to area on the unit sphere, 4π in all. Coordinates were recorded with few
    digits, and places occur more than once.

    Args:
        name: quakes, floods or fires.
        data_dir: folder of the data; what is missing in `data_dir`/earth is downloaded.
        validation: share of the points to validate on.
        test: share of the points to test on.
        batch_size: points in a batch, on each device.
        seed: starting point of the split and of the order of training data.

    Raises:
        ConfigError: an unknown name, or shares that leave nothing.
    """

    def __init__(
        self,
        name: EarthName = "quakes",
        data_dir: str = "data",
        *,
        validation: float = 0.1,
        test: float = 0.1,
        batch_size: int = 256,
        seed: int = 0,
    ) -> None:
        _check(name, get_args(EarthName), validation, test)
        super().__init__(3, batch_size=batch_size, seed=seed)
        self.save_hyperparameters(logger=False)
        self.file, self._md5 = _EVENTS[name]
        self.path = Path(data_dir) / "earth" / self.file
        self._shares = (validation, test)

    def prepare_data(self) -> None:
        """Download the file where it is missing."""
        fetch(_EARTH + self.file, self.path, self._md5)

    def load(self) -> Splits:
        degrees = _numbers(self.path, [0, 1], "Earth")
        if not ((degrees[:, 0].abs() <= 90) & (degrees[:, 1].abs() <= 180)).all():
            raise DataError(
                f"{self.path} holds {degrees.abs().amax(0).tolist()}; accepted are latitudes up "
                "to 90 and longitudes up to 180 degrees."
            )
        latitude, longitude = degrees.deg2rad().unbind(1)
        ring = latitude.cos()[:, None] * torch.stack([longitude.cos(), longitude.sin()], 1)
        points = torch.cat([ring, latitude.sin()[:, None]], 1)
        return _split(points, self._shares, self.seed)


class Torsion(FlowDataModule):
    """Torsion angles of RNA or of proteins, in radians in [-π, π].

    RNA: 9,478 residues with seven angles, alpha, beta, gamma, delta, epsilon, zeta and chi; the
    file is downloaded where it is missing. Proteins: residues of the Top8000 set (Richardson Lab,
    Duke; CC BY 4.0), phi, psi and the angles of the side chain, of one kind of residue, or phi and
    psi of all with "protein". They are read from `data_dir`/torsion/protein_top8000.npz, an array
    of degrees for each kind, which is not downloaded.

    Args:
        name: rna, protein, or a kind of residue: arg, lys, gln, met, his, trp, cys, cispro.
        data_dir: folder of the data.
        columns: names of the angles to keep; all by default.
        validation: share of the rows to validate on.
        test: share of the rows to test on.
        batch_size: rows in a batch, on each device.
        seed: starting point of the split and of the order of training data.

    Attributes:
        column_names: names of the angles.

    Raises:
        ConfigError: an unknown name or angle, or shares that leave nothing.
    """

    def __init__(
        self,
        name: TorsionName = "rna",
        data_dir: str = "data",
        *,
        columns: list[str] | None = None,
        validation: float = 0.1,
        test: float = 0.1,
        batch_size: int = 256,
        seed: int = 0,
    ) -> None:
        _check(name, get_args(TorsionName), validation, test)
        self.kind = name
        known = self._known()
        kept = list(known) if columns is None else list(columns)
        if not kept or len({*kept}) < len(kept) or not {*kept} <= {*known}:
            raise ConfigError(f"columns is {kept}; {name} has {', '.join(known)}.")
        super().__init__(len(kept), batch_size=batch_size, seed=seed)
        self.save_hyperparameters(logger=False)
        file = "rna.tsv" if name == "rna" else "protein_top8000.npz"
        self.path = Path(data_dir) / "torsion" / file
        self.column_names = tuple(kept)
        self._shares = (validation, test)

    def prepare_data(self) -> None:
        """Download the file of RNA where it is missing."""
        if self.kind == "rna":
            fetch(_RNA, self.path, _RNA_MD5)

    def load(self) -> Splits:
        places = [self._known().index(name) for name in self.column_names]
        if self.kind == "rna":
            degrees = _numbers(self.path, [2 + place for place in places], "Torsion")
        else:
            kinds = get_args(TorsionName)[2:] if self.kind == "protein" else (self.kind,)
            degrees = torch.cat([self._residues(kind)[:, places] for kind in kinds])
        if not (degrees.abs() <= 180).all():
            raise DataError(
                f"{self.path} holds angles beyond 180 degrees; accepted are -180 to 180."
            )
        return _split(degrees.deg2rad(), self._shares, self.seed)

    def _known(self) -> tuple[str, ...]:
        if self.kind == "rna":
            return _RNA_COLUMNS
        more = {"arg": 4, "lys": 4, "gln": 3, "met": 3, "his": 2, "trp": 2, "cys": 1, "cispro": 3}
        return _PROTEIN_COLUMNS[: 2 + more.get(self.kind, 0)]

    def _residues(self, kind: str) -> Tensor:
        if not self.path.is_file():
            raise DataError(
                f"There is no file {self.path}: put one with an array of degrees for each kind of "
                "residue there (phi, psi, chi1, ...; rlabduke/reference_data has them as tables), "
                "or set data_dir to the folder that holds torsion."
            )
        return torch.as_tensor(np.asarray(read_content(str(self.path), kind)["train"], np.float64))


def _check(name: str, names: tuple[str, ...], validation: float, test: float) -> None:
    if name not in names:
        raise ConfigError(f"name is {name!r}; accepted are {', '.join(names)}.")
    if min(validation, test) < 0 or not validation + test < 1:
        raise ConfigError(
            f"validation is {validation} and test is {test}; accepted are shares whose sum is "
            "below 1."
        )


def _numbers(path: Path, columns: list[int], owner: str) -> Tensor:
    """Columns of a table, float64: (rows, columns).

    Raises:
        DataError: there is no such file, or it holds other things.
    """
    if not path.is_file():
        raise DataError(
            f"{owner} lacks {path}, and prepare_data has not run: call it, or set data_dir to the "
            "folder that holds it."
        )
    table = read_content(str(path), None)["train"]
    try:
        values = table.iloc[:, columns].to_numpy(np.float64)
    except (IndexError, ValueError) as error:
        raise DataError(f"{path} is no table of {owner}: {error}.") from error
    return torch.tensor(values)


def _split(points: Tensor, shares: tuple[float, float], seed: int) -> Splits:
    sizes = [round(share * len(points)) for share in shares]
    train, val, test = split_indices(len(points), sizes, seed)
    x = points.to(torch.get_default_dtype())
    pieces = {"train": train, "val": val, "test": test}
    return {name: {"x": x[index]} for name, index in pieces.items() if len(index)}
