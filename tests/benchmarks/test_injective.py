"""The benchmarks of injective flows run, and measure what they say. No timing is asserted."""

import math

import pytest
import torch
from torch import nn

from benchmarks import circle, gradients, growth, report, stability
from benchmarks.memory import STATUS, memory_rows
from lightning_flows.bases import Uniform
from lightning_flows.datamodules import Toy


class Opened(nn.Module):
    """The circle cut open at ±π, exactly."""

    manifold_shape = (1,)

    def project(self, x):
        return torch.atan2(x[:, 1:], x[:, :1])

    def embed(self, u):
        return torch.cat([u.cos(), u.sin()], 1)


def test_a_uniform_density_on_the_circle_has_the_divergence_of_the_closed_form():
    prior = Uniform(1, low=-math.pi, high=math.pi)
    found = circle.measure(Opened(), prior, Toy("von_mises_circle"))
    # KL(von Mises ‖ uniform) = κ I1(κ)/I0(κ) - log I0(κ), κ = 2
    kappa = torch.tensor(2.0, dtype=torch.float64)
    ratio = torch.special.i1e(kappa) / torch.special.i0e(kappa)
    expected = kappa * ratio - torch.special.i0(kappa).log()
    assert found.kl == pytest.approx(expected.item(), abs=1e-5)
    assert found.mass == pytest.approx(1, abs=1e-5)
    assert found.error == pytest.approx(0, abs=1e-10)


def test_circle_reports_every_method(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(circle, "POINTS", 64)
    monkeypatch.setattr(circle, "GRID", 400)
    out, figure = tmp_path / "new" / "circle.md", tmp_path / "circle.png"
    circle.main(["--seeds", "1", "--steps", "3", "--out", str(out), "--figure", str(figure)])
    text = out.read_text(encoding="utf-8")
    for name in circle.METHODS:
        assert f"| {name} |" in text
    assert figure.read_bytes().startswith(b"\x89PNG")
    assert "after 1 of 1 seeds" in capsys.readouterr().out


def test_gradients_reports_every_strategy(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(gradients, "FLOWS", {"free": "free-form nets"})
    monkeypatch.setattr(gradients, "PROBES", 2)
    out, figure = tmp_path / "gradients.md", tmp_path / "gradients.png"
    gradients.main(["--steps", "1", "--draws", "2", "--out", str(out), "--figure", str(figure)])
    rows = [line.split(" | ") for line in out.read_text(encoding="utf-8").splitlines()]
    exact = [row for row in rows if len(row) > 2 and row[1].startswith("exact")]
    assert len(exact) == 2
    assert all(row[2] == "1.000" and row[5] == "1.000" for row in exact)
    assert figure.read_bytes().startswith(b"\x89PNG")


def test_growth_times_every_strategy(tmp_path, capsys):
    figure = tmp_path / "growth.png"
    sizes = ["--latents", "2", "4", "--data", "16", "32", "--batch", "2", "--rounds", "1"]
    growth.main([*sizes, "--figure", str(figure)])
    printed = capsys.readouterr().out
    assert [name for name in growth.STRATEGIES if name not in printed] == []
    assert figure.read_bytes().startswith(b"\x89PNG")


@pytest.mark.skipif(not STATUS.exists(), reason="the system does not say how much is resident")
def test_memory_is_measured_in_processes_of_their_own():
    (row,) = memory_rows(quick=True)
    assert set(row.numbers) == {"ratio", "bytes_ours", "bytes_peer"}
    assert min(row.numbers.values()) >= 0


def test_stability_tells_divergence(tmp_path, monkeypatch):
    method = stability.METHODS["encoder at x"]
    monkeypatch.setattr(stability, "METHODS", {"encoder at x": method})
    out, figure = tmp_path / "results.md", tmp_path / "sine.png"
    stability.main(["--seeds", "1", "--steps", "2", "--out", str(out), "--figure", str(figure)])
    rows = [line.split(" | ") for line in out.read_text("utf-8").splitlines() if "x | " in line]
    assert [row[1] for row in rows] == ["1", "3", "10"]
    assert all(row[-1] == "0 |" for row in rows)
    broken = stability.train(stability.Method(method.volume, math.nan), 1.0, 0, 2)
    assert math.isnan(broken.nll)
    assert broken.curvature == math.inf
    assert figure.read_bytes().startswith(b"\x89PNG")


def test_a_section_is_replaced_and_the_rest_is_kept(tmp_path):
    path = tmp_path / "results.md"
    path.write_text("# Title\n", "utf-8")
    report.write_section(path, "one", "first\n")
    report.write_section(path, "two", "second\n")
    path.write_text(path.read_text("utf-8") + "last words\n", "utf-8")
    report.write_section(path, "one", "again\n")
    assert path.read_text("utf-8") == (
        "# Title\n\n<!-- one: begin -->\nagain\n<!-- one: end -->\n\n"
        "<!-- two: begin -->\nsecond\n<!-- two: end -->\nlast words\n"
    )
