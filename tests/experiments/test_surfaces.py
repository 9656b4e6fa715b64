"""Components of surfaces, and the floor of the likelihood, are measured and reported."""

import pytest

from experiments.common import surfaces as shared
from experiments.common.results import Results
from experiments.floor import page as floor_page
from experiments.floor import run as floor
from experiments.surfaces import page as surfaces_page
from experiments.surfaces import run as surfaces


@pytest.fixture(autouse=True)
def few(monkeypatch):
    monkeypatch.setattr(shared, "POINTS", 64)


def test_surfaces_are_reported_and_drawn(tmp_path):
    out, figure = tmp_path / "results.json", tmp_path / "surfaces.png"
    paths = ["--out", str(out), "--figure", str(figure)]
    surfaces.main(["--seeds", "1", "--steps", "5", "--only", "s_curve", *paths])
    page = surfaces_page.page(Results.load(out))
    assert [row[:2] for row in page.rows] == [
        ["s_curve", shared.NOISY],
        ["s_curve", shared.TIKHONOV],
    ]
    assert "| s_curve |" in page.details[0][1]
    assert figure.read_bytes().startswith(b"\x89PNG")


def test_every_stage_without_noise_is_reported(tmp_path):
    out = tmp_path / "results.json"
    floor.main(["--steps", "3", "--out", str(out)])
    rows = floor_page.page(Results.load(out)).rows
    assert [row[0] for row in rows] == [shared.NEITHER, shared.NOISY, shared.TIKHONOV]
    assert all(row[2].count("→") == row[3].count("→") == 2 for row in rows)


def test_a_stage_starts_where_the_one_before_ended():
    stages = [shared.Stage(shared.NOISY, 20), shared.Stage(shared.NEITHER, 1, rate=1e-12)]
    first, second = shared.train("sphere", stages, 0, noise=0.0)
    assert second.nll == pytest.approx(first.nll, abs=1e-4)
