"""Tables of real data, in units of their training rows."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from torch import Tensor

from lightning_flows.datamodules import Arrays
from lightning_flows.transforms import Standardize

__all__ = ["TABLES", "Table", "in_memory"]


@dataclass(frozen=True)
class Table:
    """A table in files.

    Args:
        path: file below the folder of data.
        test_path: file of the test rows, where they are not cut out of the first.
    """

    path: str
    test_path: str | None = None

    def load(self, folder: Path, seed: int) -> dict[str, Tensor]:
        """Rows of "train", "val" and "test", in units of the training rows; all columns.

        Constant columns, which have no unit, are 0. What is cut out at random follows the seed.
        """
        data = Arrays(
            str(folder / self.path),
            test_path=None if self.test_path is None else str(folder / self.test_path),
            key="data" if self.path.endswith(".npz") else None,
            redundant="keep",
            standardize=False,
            seed=seed,
        )
        rows = {name: fields["x"] for name, fields in data.load().items()}
        units = Standardize(data.event_shape, minimum_scale=1e-3)
        units.fit(rows["train"])
        return {name: units.encode(x)[0] for name, x in rows.items()}


TABLES = {
    "MINIBOONE": Table("miniboone/val.npy", "miniboone/test.npy"),
    "protein": Table("uci_small/protein_tertiary_structure.npz"),
    "power_plant": Table("uci_small/power_plant.npz"),
    "naval": Table("uci_small/naval_propulsion_plant.npz"),
    "energy": Table("uci_small/energy.npz"),
}
"""Of MINIBOONE the published validation split is trained on, and the published test split is the
test split whatever the seed."""


def in_memory(rows: Mapping[str, Tensor], batch: int, seed: int) -> Arrays:
    """A data module of rows as they are."""
    options = {"redundant": "keep", "standardize": False, "validation": 0, "test": 0}
    return Arrays(data=dict(rows), batch_size=batch, seed=seed, **options)
