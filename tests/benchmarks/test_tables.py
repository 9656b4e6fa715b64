"""The comparison on tables runs and reports; its training loop says when it broke."""

import math
import os
import re
from pathlib import Path

import pytest
import torch

from benchmarks import tables
from benchmarks.tables import Outcome
from benchmarks.training import fit_density
from lightning_flows.bases import Normal
from lightning_flows.flows import PaddedFlow

pytestmark = [
    pytest.mark.filterwarnings("ignore:The training data has no density"),
    pytest.mark.filterwarnings("ignore:ActNorm keeps scale 1"),  # of constant columns
]
needs_data = pytest.mark.skipif(
    "LIGHTNING_FLOWS_DATA" not in os.environ, reason="LIGHTNING_FLOWS_DATA is not set"
)


@needs_data
def test_every_method_is_reported_on_a_rank_deficient_table(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(tables, "SAMPLES", 20)
    out = tmp_path / "new" / "results.md"
    tables.main(["--seeds", "1", "--steps", "2", "--only", "naval", "--out", str(out)])
    text = out.read_text(encoding="utf-8")
    figures = text.partition("Joint minus")[0].splitlines()
    rows = {row[2]: row[3:-1] for row in map(cells, figures) if len(row) == 9}
    for name in tables.METHODS:
        found = rows[name][:2] if name == tables.ROWS else rows[name][:3]
        assert all(math.isfinite(float(figure)) for figure in found)
        assert rows[name][4] == "0"
    assert "18 columns, 9 latents" in text
    assert text.startswith("<!-- tables: begin -->")
    assert text.split("-->")[1].rpartition("<!--")[0].strip() in capsys.readouterr().out


@needs_data
@pytest.mark.parametrize("name", tables.TABLES)
def test_training_rows_have_unit_variance_and_all_columns(name):
    rows = tables.TABLES[name].load(Path(os.environ["LIGHTNING_FLOWS_DATA"]))
    deviation = rows["train"].std(0)
    assert set(rows) == {"train", "val", "test"}
    assert ((deviation - 1).abs() < 1e-3).sum() + (deviation == 0).sum() == deviation.numel()
    assert (deviation == 0).sum() == (2 if name == "naval" else 0)


def cells(line):
    return [cell.strip() for cell in line.split("|")]


def test_a_run_that_broke_is_counted_and_left_out():
    sound, broken = Outcome(1.0, 2.0, 3.0, 4.0), Outcome()
    names = {"power plant": (5, 10, 10)}
    outcomes = {("power plant", name): [sound, broken, sound] for name in tables.METHODS}
    text = tables.table(outcomes, 5, names)
    assert (
        "| power plant | joint, free-form | 1 (1 to 1) | 2 (2 to 2) | 3 (3 to 3) | 4 (4 to 4) | 1 |"
        in text
    )
    zeros = "+0 (+0 to +0) | +0 (+0 to +0) | +0 (+0 to +0) |"
    assert f"| power plant | joint, free-form | {zeros}" in text
    assert "all 6 differences" in text
    assert "1,000 validation rows" in text
    assert "{" not in text


def test_documents_show_no_placeholders():
    for path in (Path(__file__).parents[2] / "docs").glob("*.md"):
        prose = re.sub(r"```.*?```|`[^`]*`", "", path.read_text("utf-8"), flags=re.DOTALL)
        assert not re.findall(r"\{[^}\n]*\}", prose), path


def test_a_joint_method_is_compared_with_two_steps_of_its_own_networks():
    runs = {
        "joint, stochastic": [1.0, 2.0, 3.0],
        "two-step, coupling flow": [5.0, 5.0, 5.0],
        "two-step, free-form nets": [0.0, 0.0, 0.0],
    }
    outcomes = {("naval", name): [Outcome(f, f, f) for f in fs] for name, fs in runs.items()}
    (line,) = [line for line in tables.differences(outcomes, ["naval"]) if "naval" in line]
    # three looks, two degrees of freedom: t of 1 - 0.05 / 6 is 7.649, and the error is 1 / √3
    assert line == "| naval | joint, stochastic |" + 3 * " -3 (-7.4 to +1.4) |"


def test_training_ends_at_a_gradient_that_is_not_finite():
    density, x = Normal(2, learned=True), torch.randn(8, 2)
    assert fit_density(density, x, 2, rate=1e-3)
    assert not fit_density(density, x * math.nan, 2, rate=1e-3)


def test_ambient_nll_of_a_linear_manifold_with_normal_residuals():
    torch.manual_seed(0)
    flow = PaddedFlow(3, latent_features=1, prior=Normal)  # couplings start as the identity
    scale = 0.1 + 0.9 * flow.project(torch.eye(3)).detach()[:, 0]  # 1 along the manifold
    rows = {name: torch.randn(2000, 3) * scale for name in ("val", "test")}
    found = tables.measure(flow, rows)
    truth = torch.distributions.Normal(torch.zeros(3), scale).log_prob(rows["test"]).sum(1)
    assert found.nll == pytest.approx(-truth.mean().item(), abs=0.02)
    assert found.error == pytest.approx(0.02, rel=0.1)
    assert found.frechet == pytest.approx(0.02, rel=0.3)
