"""The comparison on tables runs and reports; its densities are right."""

import math
import os
from pathlib import Path

import pytest
import torch

from experiments.common.results import Results
from experiments.common.tables import TABLES
from experiments.tables import run as tables
from experiments.tables.page import page
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
def test_every_method_is_reported_on_a_rank_deficient_table(tmp_path, monkeypatch):
    monkeypatch.setattr(tables, "SAMPLES", 20)
    monkeypatch.setattr(tables, "VALIDATION", 20)
    out = tmp_path / "results.json"
    tables.main(["--seeds", "1", "--steps", "2", "--only", "naval", "--out", str(out)])
    results = Results.load(out)
    found = {run["method"]: run for run in results.runs}
    assert list(found) == [*tables.METHODS]
    for name, run in found.items():
        assert math.isfinite(run["frechet"])
        assert (run["nll"] is None) == (name == tables.ROWS)
        assert (run["error"] is None) == (name in (tables.ROWS, tables.BIJECTIVE))
    assert results.facts["sizes"]["naval"]["columns"] == 18
    assert "Of 6 differences" in page(results).answer


@needs_data
@pytest.mark.parametrize("name", TABLES)
def test_training_rows_have_unit_variance_and_splits_follow_the_seed(name):
    folder = Path(os.environ["LIGHTNING_FLOWS_DATA"])
    rows, others = (TABLES[name].load(folder, seed) for seed in (0, 1))
    deviation = rows["train"].std(0)
    assert set(rows) == {"train", "val", "test"}
    assert ((deviation - 1).abs() < 1e-3).sum() + (deviation == 0).sum() == deviation.numel()
    assert (deviation == 0).sum() == (2 if name == "naval" else 0)
    assert not torch.equal(rows["train"], others["train"])


def test_a_joint_method_is_compared_with_two_steps_of_its_own_networks():
    figures = {
        "joint, stochastic": [1.0, 2.0, 3.0],
        "two-step, coupling flow": [5.0, 5.0, 5.0],
        "joint, free-form": [7.0, 7.0, 7.0],
        "two-step, free-form nets": [0.0, 0.0, 0.0],
    }
    runs = [
        {"data": "naval", "method": name, "seed": 0, **dict.fromkeys(tables_measures(), value)}
        for name, values in figures.items()
        for value in values
    ]
    size = {"columns": 2, "latents": 1, "beta": 1, "train": 9, "test": 9}
    facts = {"sizes": {"naval": size}, "batch": 1, "rate": 1, "validation": 1, "warmup": 0.2}
    results = Results("", {"steps": 2, "seeds": 3}, facts=facts | {"samples": 5}, runs=runs)
    first, second = page(results).rows
    # six looks, two degrees of freedom: t of 1 - 0.05 / 12 is 10.89, and the error is 1 / √3
    assert first == ["naval", "joint, stochastic", *["-3 (-9.3 to +3.3)"] * 3]
    assert second == ["naval", "joint, free-form", *["+7 (+7 to +7)"] * 3]


def tables_measures():
    return ("frechet", "sliced", "nll", "error")


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
