"""The comparison of gradients runs, and the exact strategy agrees with itself."""

from experiments.common.results import Results
from experiments.gradients import run as gradients
from experiments.gradients.page import page


def test_every_strategy_is_reported(tmp_path, monkeypatch):
    monkeypatch.setattr(gradients, "PROBES", 2)
    monkeypatch.setattr(gradients, "BATCH", 8)
    out, figure = tmp_path / "gradients.json", tmp_path / "gradients.png"
    gradients.main(["--steps", "1", "--draws", "2", "--out", str(out), "--figure", str(figure)])
    results = Results.load(out)
    exact = [run for run in results.runs if run["strategy"].startswith("exact")]
    assert len(exact) == 8
    assert all(round(run["cosine"], 6) == round(run["single"], 6) == 1 for run in exact)
    assert page(results).rows[0] == ["exact", *["1.000"] * 4]
    assert figure.read_bytes().startswith(b"\x89PNG")
