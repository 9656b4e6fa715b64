"""Small files in the formats of events on the Earth and of torsion angles."""

from pathlib import Path

import numpy as np


def write_earth(folder: Path, rows: int = 100) -> None:
    """With and without a line of names, as the three files are."""
    random = np.random.default_rng(0)
    degrees = np.stack([random.uniform(-60, 70, rows), random.uniform(-180, 180, rows)], 1)
    lines = [f"{latitude:.3f},{longitude:.3f}" for latitude, longitude in degrees]
    (folder / "earth").mkdir()
    for file, head in (
        ("quakes_all.csv", ["# a source", "# another", "LATITUDE,LONGITUDE"]),
        ("flood.csv", ["# a source", "lat,long"]),
        ("fire.csv", ["# a source"]),
    ):
        (folder / "earth" / file).write_text("\n".join([*head, *lines]) + "\n")


def write_torsion(folder: Path, rows: int = 100) -> None:
    random = np.random.default_rng(0)
    angles = random.uniform(-180, 180, (rows, 7))
    lines = ["\t".join(["402d", "ACGU"[i % 4], *map("{:.6f}".format, row)])
             for i, row in enumerate(angles)]  # fmt: skip
    (folder / "torsion").mkdir()
    (folder / "torsion" / "rna.tsv").write_text("\n".join(lines) + "\n")
    columns = {"arg": 6, "lys": 6, "gln": 5, "met": 5, "his": 4, "trp": 4, "cys": 3, "cispro": 5}
    kinds = {
        kind: random.uniform(-180, 180, (rows, n)).astype(np.float32) for kind, n in columns.items()
    }
    np.savez(folder / "torsion" / "protein_top8000.npz", **kinds)
