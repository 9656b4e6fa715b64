"""The experiment on the time of a step runs. No timing is asserted."""

from experiments.common.results import Results
from experiments.growth import run as growth
from experiments.growth.page import page


def test_every_strategy_is_timed(tmp_path):
    out, figure = tmp_path / "growth.json", tmp_path / "growth.png"
    sizes = ["--latents", "2", "4", "--data", "16", "32", "--batch", "2", "--rounds", "1"]
    growth.main([*sizes, "--out", str(out), "--figure", str(figure)])
    found = page(Results.load(out))
    assert [row[0] for row in found.rows] == list(growth.STRATEGIES)
    assert found.head[1:] == ["d=2", "d=4", "D=16", "D=32"]
    assert figure.read_bytes().startswith(b"\x89PNG")
