"""The experiment on consistency runs, and its slope is one."""

import pytest

from experiments.circle import run as circle
from experiments.common.results import Results
from experiments.consistency import run as consistency
from experiments.consistency.page import page


def test_every_method_is_reported_and_drawn(tmp_path, monkeypatch):
    monkeypatch.setattr(circle, "GRID", 400)
    out, figure = tmp_path / "consistency.json", tmp_path / "consistency.png"
    files = ["--out", str(out), "--figure", str(figure)]
    consistency.main(["--seeds", "1", "--steps", "2", "--points", "40", "80", *files])
    rows = page(Results.load(out)).rows
    assert [row[0] for row in rows] == [*consistency.METHODS]
    assert figure.read_bytes().startswith(b"\x89PNG")


def test_the_slope_of_a_power_is_its_exponent():
    runs = [{"n": n, "kl": k * n**-0.7} for n in (10, 100, 1000) for k in (1.0, 2.0, 9.0)]
    assert consistency.slope(runs, [10, 100, 1000]) == pytest.approx(-0.7)
